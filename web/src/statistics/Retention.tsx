/** How many of the users of a week came back in the weeks after it. */
import { Card, Empty } from "../components/ui";
import { Table } from "../components/Table";
import { plural } from "../text";
import { CsvButton, type Sheet } from "./ChartCard";
import { type Cohort, dayName, percent } from "./numbers";

const SHADES = 5;

/** 0 for no user, then 1 to 5. */
const shade = (part: number): number => Math.min(SHADES, Math.ceil((part / 100) * SHADES));

export function Retention({ cohorts }: { cohorts: readonly Cohort[] }) {
  const most = Math.max(0, ...cohorts.map(({ active }) => active.length));
  const weeks = Array.from({ length: most }, (_, index) => index);
  const sheet: Sheet = {
    header: ["Week of registration", "Users registered", ...weeks.map((week) => `Active in week ${week}`)],
    rows: cohorts.map(({ week, registered, active }) => [week, registered, ...weeks.map((one) => active[one] ?? null)]),
  };
  const title = "Retention";
  return (
    <Card title={title} actions={<CsvButton title={title} sheet={sheet} />}>
      <p>
        Of the users who registered in a week (from Monday, UTC), how many signed in or refreshed a session in that week (week
        0) and in each week after. A stronger shade means a greater part.
      </p>
      {cohorts.every(({ registered }) => registered === 0) ? (
        <Empty>No user has registered in these weeks. Cohorts show after the first registration.</Empty>
      ) : (
        <Table label="Retention by week of registration">
          <thead>
            <tr>
              <th scope="col">Week of</th>
              <th scope="col" className="number">Registered</th>
              {weeks.map((week) => (
                <th key={week} scope="col" className="number">
                  Week {week}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {cohorts.map(({ week, registered, active }) => (
              <tr key={week}>
                <th scope="row">{dayName(week)}</th>
                <td className="number">{plural(registered, "user")}</td>
                {weeks.map((one) => {
                  const count = active[one];
                  if (count === undefined) return <td key={one} />;
                  const part = percent(count, registered);
                  if (part === null) return <td key={one} className="number quiet">–</td>;
                  return (
                    <td key={one} className={`number shade-${shade(part)}`}>
                      {Math.round(part)} %
                      <div className="count">{plural(count, "user")}</div>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Card>
  );
}
