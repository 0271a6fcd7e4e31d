import { Page } from "../components/ui";

export default function User({ id }: { id: string }) {
  return <Page title="User">{id}</Page>;
}
