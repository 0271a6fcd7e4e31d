import { Page } from "../components/ui";

export default function DataObject({ number }: { number: number }) {
  return <Page title="Data object">{number}</Page>;
}
