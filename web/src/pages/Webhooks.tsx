import { Page } from "../components/ui";

export default function Webhooks() {
  return <Page title="Webhooks">…</Page>;
}
