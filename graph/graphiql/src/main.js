import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { GraphiQL } from "graphiql";
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getOperationAST } from "graphql";
import { createClient } from "graphql-ws";

import "graphiql/style.css";
import "./main.css";
import welcome from "./welcome.graphql";

const socketUrl = location.origin.replace(/^http/, "ws") + location.pathname;
const post = createGraphiQLFetcher({ url: location.pathname, enableIncrementalDelivery: false });

function fetcher(params, options = {}) {
  const operation = options.documentAST && getOperationAST(options.documentAST, params.operationName);
  return operation?.operation === "subscription" ? subscription(params, options.headers) : post(params, options);
}

// A client for each subscription, because the token in the Headers tab may have changed since the last one.
// Connecting again by itself would hide what was missed meanwhile, so the closed socket is shown instead.
function subscription(params, headers) {
  const client = createClient({ url: socketUrl, connectionParams: connectionParams(headers), retryAttempts: 0 });
  return {
    subscribe(sink) {
      const unsubscribe = client.subscribe(params, { ...sink, error: (reason) => sink.error(shown(reason)) });
      return { unsubscribe };
    },
  };
}

// A browser cannot set headers on a WebSocket, so the server reads the token from connection_init instead.
function connectionParams(headers = {}) {
  const header = Object.entries(headers).find(([name]) => name.toLowerCase() === "authorization");
  return header && { authorization: header[1] };
}

// Browser events say nothing when they are printed as JSON; GraphQL errors do.
function shown(reason) {
  if (reason instanceof CloseEvent) {
    return { message: `The socket was closed: ${reason.code} ${reason.reason}`.trim() };
  }
  return reason instanceof Event ? { message: `No connection to ${socketUrl}` } : reason;
}

createRoot(document.getElementById("graphiql")).render(
  createElement(
    GraphiQL,
    {
      fetcher,
      defaultQuery: welcome,
      defaultEditorToolsVisibility: "headers",
      // GraphiQL keeps what is typed, passwords in a login mutation included: let it go with the browser tab.
      storage: sessionStorage,
    },
    createElement(GraphiQL.Logo, null, "Rollcall"),
  ),
);
