/** What became of each change for one endpoint, newest first. */
import { useState } from "react";

import { Badge, Empty, Failure, Loading, Moment, Problems } from "../components/ui";
import { Table } from "../components/Table";
import { graphql } from "../gql";
import type { WebhookDeliveriesQuery } from "../gql/graphql";
import { plural } from "../text";
import { useEvery, useRead, useWrite } from "../use";

const DELIVERIES = graphql(`
  query WebhookDeliveries($id: ID!, $first: Int!, $after: String) {
    webhookDeliveries(id: $id, first: $first, after: $after) {
      edges { node { id position status attempts durationMs error deliveredAt nextAttemptAt } }
      pageInfo { hasNextPage endCursor }
    }
  }
`);
const REDELIVER = graphql(`
  mutation Redeliver($deliveryId: ID!) {
    redeliver(deliveryId: $deliveryId) { webhook { id } errors { code message field } }
  }
`);

const PAGE = 20;
const AGAIN_MS = 3_000;

type Delivery = WebhookDeliveriesQuery["webhookDeliveries"]["edges"][number]["node"];

function Outcome({ delivery }: { delivery: Delivery }) {
  if (delivery.deliveredAt) return <Badge kind="good">Delivered</Badge>;
  if (!delivery.nextAttemptAt) return <Badge kind="bad">Failed for good</Badge>;
  return delivery.attempts ? <Badge kind="warn">Repeated</Badge> : <Badge>Queued</Badge>;
}

export function Deliveries({ webhook }: { webhook: string }) {
  /** Cursors of the pages up to this one; the newest page has none. */
  const [pages, turn] = useState<readonly string[]>([]);
  const after = pages.at(-1) ?? null;
  const read = useRead(DELIVERIES, { id: webhook, first: PAGE, after });
  const redeliver = useWrite(REDELIVER, "redeliver");
  useEvery(AGAIN_MS, read.again);
  const page = read.data?.webhookDeliveries;
  const send = async (deliveryId: string) => {
    await redeliver.send({ deliveryId });
    read.again();
  };
  return (
    <section className="stack" aria-label="Deliveries">
      <h3>Deliveries</h3>
      <Problems problems={redeliver.problems} />
      {read.error && <Failure error={read.error} again={read.again} />}
      {!page && !read.error && <Loading />}
      {page?.edges.length === 0 && (
        <Empty>
          {pages.length
            ? "There are no older deliveries. Go back to the newest."
            : "Nothing was sent yet. Change a user: the delivery shows here within seconds."}
        </Empty>
      )}
      {page && page.edges.length > 0 && (
        <Table label="Table of deliveries">
          <thead>
            <tr>
              <th scope="col" className="number">Position</th>
              <th scope="col">Outcome</th>
              <th scope="col" className="number">HTTP status</th>
              <th scope="col" className="number">Sent</th>
              <th scope="col" className="number">Took</th>
              <th scope="col">Error</th>
              <th scope="col">Delivered</th>
              <th scope="col">Next attempt</th>
              <th scope="col">
                <span className="sr-only">Action</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {page.edges.map(({ node }) => (
              <tr key={node.id}>
                <th scope="row" className="number">{node.position}</th>
                <td>
                  <Outcome delivery={node} />
                </td>
                <td className="number">{node.status ?? <span className="quiet">no answer</span>}</td>
                <td className="number">{plural(node.attempts, "time")}</td>
                <td className="number">
                  {node.durationMs === null || node.durationMs === undefined
                    ? "–"
                    : `${node.durationMs.toLocaleString(undefined, { maximumFractionDigits: 0 })} ms`}
                </td>
                <td className="message">{node.error ?? <span className="quiet">none</span>}</td>
                <td>{node.deliveredAt ? <Moment at={node.deliveredAt} /> : <span className="quiet">not yet</span>}</td>
                <td>{node.nextAttemptAt ? <Moment at={node.nextAttemptAt} /> : <span className="quiet">none</span>}</td>
                <td>
                  <button
                    onClick={() => void send(node.id)}
                    aria-label={`Redeliver position ${node.position}`}
                  >
                    Redeliver
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <div className="row">
        <button disabled={!pages.length} onClick={() => turn([])}>
          Newest
        </button>
        <button disabled={!pages.length} onClick={() => turn(pages.slice(0, -1))}>
          Newer
        </button>
        <button
          disabled={!page?.pageInfo.hasNextPage}
          onClick={() => {
            const end = page?.pageInfo.endCursor;
            if (end && end !== after) turn([...pages, end]); // until the next page is there, this one is shown
          }}
        >
          Older
        </button>
      </div>
    </section>
  );
}
