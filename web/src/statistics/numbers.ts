/** What the figures and charts are computed from: pure functions of days. */
import type { StatisticsQuery } from "../gql/graphql";

export type Day = StatisticsQuery["statistics"]["activity"][number];
export type Cohort = StatisticsQuery["statistics"]["retention"][number];

export const PERIODS = [7, 30, 90, 365] as const;
export type Period = (typeof PERIODS)[number];
/** The API counts this many days at most, so that a year has no year before it. */
export const MOST_DAYS = 366;

export const daysNeeded = (period: Period): number => Math.min(2 * period + 1, MOST_DAYS);

export interface Totals {
  registrations: number;
  deletions: number;
  signIns: number;
  failedSignIns: number;
  /** Of all attempts to sign in, in percent; null without an attempt. */
  failures: number | null;
  /** Of the total, in percent; null if it began with no user. */
  growth: number | null;
  total: number;
  /** Mean number of users a day. */
  activeUsers: number;
}

const sum = (days: readonly Day[], field: "registrations" | "deletions" | "signIns" | "failedSignIns" | "activeUsers") =>
  days.reduce((before, day) => before + day[field], 0);

export const percent = (part: number, whole: number): number | null => (whole ? (100 * part) / whole : null);

/** Of some days; `before` is the day before them, if it is known. */
function totals(days: readonly Day[], before: Day | undefined): Totals {
  const [signIns, failedSignIns] = [sum(days, "signIns"), sum(days, "failedSignIns")];
  const total = days.at(-1)?.total ?? 0;
  return {
    registrations: sum(days, "registrations"),
    deletions: sum(days, "deletions"),
    signIns,
    failedSignIns,
    failures: percent(failedSignIns, signIns + failedSignIns),
    growth: before ? percent(total - before.total, before.total) : null,
    total,
    activeUsers: days.length ? sum(days, "activeUsers") / days.length : 0,
  };
}

export interface Comparison {
  days: readonly Day[];
  now: Totals;
  /** The period before; null if the API does not reach back so far. */
  past: Totals | null;
  /** Its days, the first beside the first of `days`. */
  pastDays: readonly Day[];
}

export function compare(activity: readonly Day[], period: Period): Comparison {
  const days = activity.slice(-period);
  const pastDays = activity.length >= 2 * period ? activity.slice(-2 * period, -period) : [];
  return {
    days,
    now: totals(days, activity.at(-period - 1)),
    past: pastDays.length ? totals(pastDays, activity.at(-2 * period - 1)) : null,
    pastDays,
  };
}

const DAY_MS = 86_400_000;

/** The Monday of a day's week, in UTC. */
export function monday(day: string): string {
  const at = new Date(`${day}T00:00:00Z`);
  const sinceMonday = (at.getUTCDay() + 6) % 7;
  return new Date(at.getTime() - sinceMonday * DAY_MS).toISOString().slice(0, 10);
}

export function byWeek(days: readonly Day[]): { week: string; registrations: number; days: number }[] {
  const weeks = new Map<string, { registrations: number; days: number }>();
  for (const day of days) {
    const week = weeks.get(monday(day.day)) ?? { registrations: 0, days: 0 };
    weeks.set(monday(day.day), { registrations: week.registrations + day.registrations, days: week.days + 1 });
  }
  return [...weeks].map(([week, counted]) => ({ week, ...counted }));
}

export const dayName = (day: string): string =>
  new Date(`${day}T00:00:00Z`).toLocaleDateString(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

export const decimal = (value: number | null): string =>
  value === null ? "–" : value.toLocaleString(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** A difference with its sign. */
export const signed = (value: number): string => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${decimal(Math.abs(value))}`;
