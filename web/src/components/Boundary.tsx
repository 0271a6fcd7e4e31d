/** Keeps the frame of the pages when one of them fails or cannot be loaded. */
import { Component, type ReactNode } from "react";

import { Notice, Page } from "./ui";

interface Props {
  /** The failure is forgotten when this changes. */
  path: string;
  children: ReactNode;
}

export class Boundary extends Component<Props, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override componentDidUpdate(before: Props): void {
    if (this.state.error && before.path !== this.props.path) this.setState({ error: null });
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <Page title="This page cannot be shown" narrow>
        <Notice kind="bad">
          <p>Its program failed, or Rollcall was updated since you opened it: {error.message}</p>
          <button onClick={() => location.reload()}>Load it again</button>
        </Notice>
      </Page>
    );
  }
}
