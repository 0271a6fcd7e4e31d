import { Page } from "../components/ui";

export default function CustomerDashboard() {
  return <Page title="Dashboard">…</Page>;
}
