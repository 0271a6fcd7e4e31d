/** A small line of the last values. The label says what it shows, for who cannot see it. */
const WIDTH = 120;
const HEIGHT = 28;
const MARGIN = 2;

export function Sparkline(props: { values: readonly number[]; length: number; label: string }) {
  const most = Math.max(...props.values) || 1;
  const step = WIDTH / (props.length - 1);
  const start = WIDTH - (props.values.length - 1) * step;
  const points = props.values.map((value, index) => {
    const height = HEIGHT - MARGIN - (value / most) * (HEIGHT - 2 * MARGIN);
    return `${(start + index * step).toFixed(1)},${height.toFixed(1)}`;
  });
  return (
    <svg className="spark" role="img" aria-label={props.label} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none">
      <line x1="0" x2={WIDTH} y1={HEIGHT - 1} y2={HEIGHT - 1} />
      <polyline points={points.join(" ")} />
    </svg>
  );
}
