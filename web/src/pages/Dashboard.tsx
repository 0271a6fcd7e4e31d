/** Where a user lands: what their role is for. */
import { type ReactNode, Suspense } from "react";
import { Link, useSearchParams } from "wouter";

import { Loading } from "../components/ui";
import { lazily } from "../lazily";
import { useViewer } from "../session";

const CustomerDashboard = lazily(() => import("./CustomerDashboard"));
const Operations = lazily(() => import("./Operations"));
const Statistics = lazily(() => import("./Statistics"));

const VIEWS = [
  { name: "operations", text: "Operations" },
  { name: "statistics", text: "Statistics" },
] as const;

/** Both dashboards of staff. Which one is shown is in the address, so that it can be kept and sent. */
function AdminDashboard() {
  const [search] = useSearchParams();
  const view = search.get("view") === "statistics" ? "statistics" : "operations";
  const tabs = (
    <nav className="tabs" aria-label="Dashboards">
      {VIEWS.map((one) => (
        <Link key={one.name} href={`/dashboard?view=${one.name}`} aria-current={view === one.name ? "page" : undefined}>
          {one.text}
        </Link>
      ))}
    </nav>
  );
  return view === "statistics" ? <Statistics tabs={tabs} /> : <Operations tabs={tabs} />;
}

function of(role: string): ReactNode {
  switch (role) {
    case "ADMIN":
      return <AdminDashboard />;
    case "SENIOR_MANAGEMENT":
      return <Statistics />;
    case "TECHNICAL_WORKER":
      return <Operations />;
    default:
      return <CustomerDashboard />;
  }
}

export default function Dashboard() {
  const { role } = useViewer();
  return <Suspense fallback={<Loading />}>{of(role)}</Suspense>;
}
