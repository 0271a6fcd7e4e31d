import { Page } from "../components/ui";

export default function ForgotPassword() {
  return <Page title="ForgotPassword">…</Page>;
}
