import { Page } from "../components/ui";

export default function Data() {
  return <Page title="Data">…</Page>;
}
