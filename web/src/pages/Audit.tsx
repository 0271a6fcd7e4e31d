import { Page } from "../components/ui";

export default function Audit() {
  return <Page title="Audit">…</Page>;
}
