/** The dashboard of senior management: figures, charts and cohorts, each beside the period before. */
import type { ReactNode } from "react";
import { useSearchParams } from "wouter";

import { Card, Failure, Loading, Page } from "../components/ui";
import { graphql } from "../gql";
import type { StatisticsQuery } from "../gql/graphql";
import { ChartCard, CsvButton, type Sheet, SheetTable } from "../statistics/ChartCard";
import {
  byWeek,
  compare,
  type Comparison,
  dayName,
  daysNeeded,
  decimal,
  percent,
  type Period,
  PERIODS,
  signed,
  type Totals,
} from "../statistics/numbers";
import { Retention } from "../statistics/Retention";
import { plural, roleName } from "../text";
import { useEvery, useRead } from "../use";

const STATISTICS = graphql(`
  query Statistics($days: Int!, $weeks: Int!) {
    statistics {
      total
      byRole { role count }
      activeSessions
      activity(days: $days) { day registrations deletions signIns failedSignIns activeUsers total }
      retention(weeks: $weeks) { week registered active }
    }
  }
`);

const WEEKS = 8;
const AGAIN_MS = 60_000;
const DEFAULT: Period = 30;

function Periods({ period, choose }: { period: Period; choose: (period: Period) => void }) {
  return (
    <div className="chips" role="group" aria-label="Period">
      {PERIODS.map((one) => (
        <button key={one} aria-pressed={one === period} onClick={() => choose(one)}>
          {one} days
        </button>
      ))}
    </div>
  );
}

/** How a count has changed, in percent of what it was. */
function change(now: number, past: number, period: Period): string {
  const part = percent(now - past, past);
  return part === null ? `none in the ${period} days before` : `${signed(part)} % against the ${period} days before`;
}

function Figure(props: { name: string; value: string; unit: string; note: string }) {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>
        {props.value} <small>{props.unit}</small>
      </dd>
      <dd className="note">{props.note}</dd>
    </div>
  );
}

function Figures({ read, period, now, past }: { read: StatisticsQuery["statistics"]; period: Period } & Comparison) {
  const against = (value: (totals: Totals) => number): string =>
    past ? change(value(now), value(past), period) : "no earlier days to compare with";
  const points = (value: (totals: Totals) => number | null): string => {
    const [one, other] = [value(now), past && value(past)];
    if (one === null || other === null) return "no earlier days to compare with";
    return `${signed(one - other)} percentage points against the ${period} days before`;
  };
  const unit = (count: number, noun: string) => plural(count, noun).replace(/^\S+ /, "");
  return (
    <dl className="figures">
      <Figure
        name="Users"
        value={read.total.toLocaleString()}
        unit={unit(read.total, "user")}
        note={`${now.deletions.toLocaleString()} deleted in ${period} days`}
      />
      <Figure
        name="Active sessions"
        value={read.activeSessions.toLocaleString()}
        unit={unit(read.activeSessions, "session")}
        note="now"
      />
      <Figure
        name="Registrations"
        value={now.registrations.toLocaleString()}
        unit={`in ${period} days`}
        note={against(({ registrations }) => registrations)}
      />
      <Figure
        name="Growth"
        value={now.growth === null ? "–" : signed(now.growth)}
        unit={now.growth === null ? "" : "%"}
        note={points(({ growth }) => growth)}
      />
      <Figure
        name="Sign-ins"
        value={now.signIns.toLocaleString()}
        unit={`in ${period} days`}
        note={against(({ signIns }) => signIns)}
      />
      <Figure
        name="Failed sign-ins"
        value={decimal(now.failures)}
        unit="% of all attempts"
        note={points(({ failures }) => failures)}
      />
    </dl>
  );
}

function Roles({ byRole, total }: StatisticsQuery["statistics"]) {
  const sheet: Sheet = {
    header: ["Role", "Users", "% of all users"],
    rows: byRole.map(({ role, count }) => [roleName(role), count, percent(count, total)]),
  };
  return (
    <ChartCard
      title="Users by role"
      summary={byRole.map(({ role, count }) => `${roleName(role)}: ${plural(count, "user")}`).join("; ") + "."}
      points={byRole.map(({ role, count }) => ({ name: roleName(role), users: count }))}
      series={[{ key: "users", name: "Users", as: "bar" }]}
      sheet={sheet}
      lying
    />
  );
}

function RegistrationsByDay({ days, pastDays, now, period }: Comparison & { period: Period }) {
  const rows = days.map((day, index) => ({ day, before: pastDays[index]?.registrations ?? null }));
  const best = days.reduce((one, other) => (other.registrations > one.registrations ? other : one), days[0]!);
  const compared = pastDays.length > 0;
  return (
    <ChartCard
      title="Registrations by day"
      summary={
        now.registrations
          ? `${plural(now.registrations, "registration")} in ${period} days (UTC), most on ${dayName(best.day)}: ${best.registrations}.`
          : `No registration in ${period} days.`
      }
      points={rows.map(({ day, before }) => ({ name: day.day, registrations: day.registrations, before }))}
      series={[
        { key: "registrations", name: "Registrations", as: "bar" },
        ...(compared ? [{ key: "before", name: `${period} days earlier`, as: "dashes" } as const] : []),
      ]}
      sheet={{
        header: ["Day (UTC)", "Registrations", ...(compared ? [`Registrations ${period} days earlier`] : []), "Deletions"],
        rows: rows.map(({ day, before }) => [day.day, day.registrations, ...(compared ? [before] : []), day.deletions]),
      }}
      label={dayName}
    />
  );
}

function RegistrationsByWeek({ days }: Comparison) {
  const weeks = byWeek(days);
  return (
    <ChartCard
      title="Registrations by week"
      summary="Weeks begin on Monday, UTC. The first and the last week may be incomplete."
      points={weeks.map(({ week, registrations }) => ({ name: week, registrations }))}
      series={[{ key: "registrations", name: "Registrations", as: "bar" }]}
      sheet={{
        header: ["Week from", "Registrations", "Days of the period in it"],
        rows: weeks.map(({ week, registrations, days: counted }) => [week, registrations, counted]),
      }}
      label={dayName}
    />
  );
}

function Growth({ days, now }: Comparison) {
  const first = days[0];
  return (
    <ChartCard
      title="Growth"
      summary={`From ${plural(first?.total ?? 0, "user")} at the end of ${dayName(first?.day ?? "1970-01-01")} to ${plural(now.total, "user")} now.`}
      points={days.map(({ day, total }) => ({ name: day, total }))}
      series={[{ key: "total", name: "Users", as: "line" }]}
      sheet={{ header: ["Day (UTC)", "Users at its end"], rows: days.map(({ day, total }) => [day, total]) }}
      label={dayName}
      fromZero={false}
    />
  );
}

function SignIns({ days, now }: Comparison) {
  const attempts = now.signIns + now.failedSignIns;
  return (
    <ChartCard
      title="Sign-ins and failures"
      summary={
        attempts
          ? `${plural(now.signIns, "sign-in")}, and ${plural(now.failedSignIns, "attempt")} that failed: ${decimal(now.failures)} % of ${attempts.toLocaleString()}.`
          : "Nobody has tried to sign in."
      }
      points={days.map(({ day, signIns, failedSignIns }) => ({ name: day, signIns, failedSignIns }))}
      series={[
        { key: "signIns", name: "Sign-ins", as: "line" },
        { key: "failedSignIns", name: "Failed sign-ins", as: "dashes" },
      ]}
      sheet={{
        header: ["Day (UTC)", "Sign-ins", "Failed sign-ins", "% failed"],
        rows: days.map(({ day, signIns, failedSignIns }) => [
          day,
          signIns,
          failedSignIns,
          percent(failedSignIns, signIns + failedSignIns),
        ]),
      }}
      label={dayName}
    />
  );
}

function ActiveUsers({ days, now }: Comparison) {
  return (
    <ChartCard
      title="Active users"
      summary={`Users who signed in or refreshed a session on the day: ${decimal(now.activeUsers)} a day on average.`}
      points={days.map(({ day, activeUsers }) => ({ name: day, activeUsers }))}
      series={[{ key: "activeUsers", name: "Active users", as: "line" }]}
      sheet={{ header: ["Day (UTC)", "Active users"], rows: days.map(({ day, activeUsers }) => [day, activeUsers]) }}
      label={dayName}
    />
  );
}

function Compared({ period, now, past }: Comparison & { period: Period }) {
  const title = "Comparison with the period before";
  if (!past) {
    return (
      <Card title={title}>
        <p className="quiet">The API counts 366 days, so {period} days have no period before them. Choose a shorter period.</p>
      </Card>
    );
  }
  const rows: [string, number | null, number | null][] = [
    ["Registrations", now.registrations, past.registrations],
    ["Deletions", now.deletions, past.deletions],
    ["Users at the end", now.total, past.total],
    ["Growth, %", now.growth, past.growth],
    ["Sign-ins", now.signIns, past.signIns],
    ["Failed sign-ins", now.failedSignIns, past.failedSignIns],
    ["Failed sign-ins, % of attempts", now.failures, past.failures],
    ["Active users a day", now.activeUsers, past.activeUsers],
  ];
  const sheet: Sheet = {
    header: ["Figure", `Last ${period} days`, `${period} days before`, "Difference"],
    rows: rows.map(([name, one, other]) => [name, one, other, one === null || other === null ? null : one - other]),
  };
  return (
    <Card title={title} actions={<CsvButton title={title} sheet={sheet} />}>
      <SheetTable label={`${title}: table`} sheet={sheet} />
    </Card>
  );
}

export default function Statistics({ tabs }: { tabs?: ReactNode }) {
  const [search, setSearch] = useSearchParams();
  const period = PERIODS.find((one) => String(one) === search.get("days")) ?? DEFAULT;
  const read = useRead(STATISTICS, { days: daysNeeded(period), weeks: WEEKS });
  useEvery(AGAIN_MS, read.again);
  const choose = (days: Period) =>
    setSearch((before) => {
      const next = new URLSearchParams(before);
      next.set("days", String(days));
      return next;
    });
  const statistics = read.data?.statistics;
  // While another period is read, the days of the one before are shown as they are.
  const enough = statistics && statistics.activity.length >= period;
  const comparison = enough ? compare(statistics.activity, period) : undefined;
  return (
    <Page title="Statistics" actions={tabs}>
      <Periods period={period} choose={choose} />
      {read.error && <Failure error={read.error} again={read.again} />}
      {!comparison && !read.error && <Loading />}
      {statistics && comparison && (
        <>
          <Figures read={statistics} period={period} {...comparison} />
          <div className="columns">
            <Roles {...statistics} />
            <Growth {...comparison} />
            <RegistrationsByDay period={period} {...comparison} />
            <RegistrationsByWeek {...comparison} />
            <SignIns {...comparison} />
            <ActiveUsers {...comparison} />
          </div>
          <Retention cohorts={statistics.retention} />
          <Compared period={period} {...comparison} />
        </>
      )}
    </Page>
  );
}
