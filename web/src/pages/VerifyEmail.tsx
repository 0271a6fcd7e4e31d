import { Page } from "../components/ui";

export default function VerifyEmail() {
  return <Page title="VerifyEmail">…</Page>;
}
