/**
 * A chart, drawn by Recharts. It is hidden from assistive technology, for which the table beside it says the same.
 * Series differ by shape and dashes too, not by colour alone.
 */
import {
  Bar,
  CartesianGrid,
  ComposedChart,
  Legend,
  Line,
  type LegendProps,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from "recharts";

export interface Series {
  key: string;
  name: string;
  as: "bar" | "line" | "dashes";
}

export type Point = Record<string, string | number | null>;

interface Props {
  points: readonly Point[];
  series: readonly Series[];
  /** Bars that lie, for a few long names. */
  lying?: boolean;
  /** What the labels of the points show. */
  label?: (name: string) => string;
  /** Whether the axis of values begins at 0. */
  fromZero?: boolean;
}

const COLOURS = ["var(--chart-1)", "var(--chart-2)"];
const AXIS = { stroke: "var(--quiet)", tick: { fill: "var(--quiet)", fontSize: 12 }, tickLine: false };
const LEGEND: LegendProps["formatter"] = (name) => <span className="legend">{name}</span>;

export default function Chart({ points, series, lying, label, fromZero = true }: Props) {
  const names = { dataKey: "name", tickFormatter: label, minTickGap: 24 };
  const values = {
    allowDecimals: false,
    tickFormatter: (value: number) => value.toLocaleString(),
    domain: [fromZero ? 0 : "auto", "auto"] as [0 | "auto", "auto"],
  };
  return (
    <div className="chart" aria-hidden="true">
      <ResponsiveContainer width="100%" height="100%" initialDimension={{ width: 320, height: 240 }}>
        <ComposedChart
          data={[...points]}
          layout={lying ? "vertical" : "horizontal"}
          accessibilityLayer={false}
          margin={{ top: 8, right: 16, bottom: 0, left: 0 }}
        >
          <CartesianGrid stroke="var(--line)" strokeDasharray="2 4" vertical={lying === true} horizontal={!lying} />
          {lying ? <XAxis type="number" {...AXIS} {...values} /> : <XAxis {...AXIS} {...names} />}
          {lying ? <YAxis type="category" width={130} {...AXIS} {...names} /> : <YAxis width={56} {...AXIS} {...values} />}
          <Tooltip
            cursor={{ fill: "var(--raised)", stroke: "var(--line)" }}
            contentStyle={{ background: "var(--surface)", border: "1px solid var(--line)", color: "var(--text)" }}
            itemStyle={{ color: "var(--text)" }}
            labelFormatter={(name) => (label ? label(String(name)) : name)}
          />
          {series.length > 1 && <Legend formatter={LEGEND} itemSorter={null} />}
          {series.map(({ key, name, as }, index) =>
            as === "bar" ? (
              <Bar key={key} dataKey={key} name={name} fill={COLOURS[index]} isAnimationActive={false} maxBarSize={40} />
            ) : (
              <Line
                key={key}
                dataKey={key}
                name={name}
                stroke={COLOURS[index]}
                strokeWidth={2}
                strokeDasharray={as === "dashes" ? "6 4" : undefined}
                dot={false}
                isAnimationActive={false}
              />
            ),
          )}
        </ComposedChart>
      </ResponsiveContainer>
    </div>
  );
}
