import { Page } from "../components/ui";

export default function Account() {
  return <Page title="Account">…</Page>;
}
