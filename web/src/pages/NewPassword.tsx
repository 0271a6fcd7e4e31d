import { Page } from "../components/ui";

export default function NewPassword({ invitation }: { invitation?: boolean }) {
  return <Page title={invitation ? "Accept the invitation" : "New password"}>…</Page>;
}
