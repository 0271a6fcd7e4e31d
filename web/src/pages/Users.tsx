import { Page } from "../components/ui";

export default function Users() {
  return <Page title="Users">…</Page>;
}
