import { RollcallProvider, useMe, useSession } from "@rollcall/client/react";
import { StrictMode, Suspense } from "react";
import { createRoot } from "react-dom/client";
import { Redirect, Route, Switch, useLocation, useSearch } from "wouter";

import { Boundary } from "./components/Boundary";
import { applyTheme, isStaff, Shell } from "./components/Shell";
import { Failure, Loading, Page } from "./components/ui";
import { lazily } from "./lazily";
import { client, FAREWELLS, ViewerContext } from "./session";
import { SignIn } from "./pages/SignIn";
import "./styles.css";

const SignUp = lazily(() => import("./pages/SignUp"));
const ForgotPassword = lazily(() => import("./pages/ForgotPassword"));
const NewPassword = lazily(() => import("./pages/NewPassword"));
const VerifyEmail = lazily(() => import("./pages/VerifyEmail"));
const Account = lazily(() => import("./pages/Account"));
const Dashboard = lazily(() => import("./pages/Dashboard"));
const Data = lazily(() => import("./pages/Data"));
const DataObject = lazily(() => import("./pages/DataObject"));
const Users = lazily(() => import("./pages/Users"));
const User = lazily(() => import("./pages/User"));
const Audit = lazily(() => import("./pages/Audit"));
const Webhooks = lazily(() => import("./pages/Webhooks"));

/** The server sends the application for any address that a browser opens; only it knows its pages. */
const NotFound = () => (
  <Page title="There is no page here" narrow>
    <p>
      The address may be wrong, or the page may be for another role. <a href="/">Go to the start page</a>.
    </p>
  </Page>
);

/** Pages that a sign-in leads to. */
const BEHIND_SIGN_IN = /^\/(?:(?:account|dashboard|audit|webhooks)?|(?:data|users)(?:\/[^/]+)?)\/?$/;

/** Another role or name of the viewer shows at once. */
function SignedIn() {
  const { data: viewer, error } = useMe();
  const [path] = useLocation();
  if (!viewer) return error ? <Failure error={error} /> : <Loading />;
  const staff = isStaff(viewer.role);
  return (
    <ViewerContext value={viewer}>
      <Shell>
        <Boundary path={path}>
          <Suspense fallback={<Loading />}>
            <Switch>
              <Route path="/account">
                <Account />
              </Route>
              <Route path="/dashboard">
                <Dashboard />
              </Route>
              <Route path="/data">
                <Data />
              </Route>
              <Route path="/data/:number">{({ number }) => <DataObject number={Number(number)} />}</Route>
              {staff && (
                <Route path="/users">
                  <Users />
                </Route>
              )}
              {staff && <Route path="/users/:id">{({ id }) => <User key={id} id={id} />}</Route>}
              {staff && (
                <Route path="/audit">
                  <Audit />
                </Route>
              )}
              {viewer.role === "ADMIN" && (
                <Route path="/webhooks">
                  <Webhooks />
                </Route>
              )}
              <Route path="/">
                <Redirect to="/dashboard" replace />
              </Route>
              <Route path="/sign-in">
                <AfterSignIn />
              </Route>
              <Route path="/sign-up">
                <Redirect to="/dashboard" replace />
              </Route>
              <Route>
                <NotFound />
              </Route>
            </Switch>
          </Suspense>
        </Boundary>
      </Shell>
    </ViewerContext>
  );
}

/** The page that was asked for before the sign-in. Only paths of this site: another site's address is ignored. */
function AfterSignIn() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/dashboard";
  return <Redirect to={/^\/[a-z]/.test(wanted) ? wanted : "/dashboard"} replace />;
}

function SignedOut({ reason }: { reason?: string | undefined }) {
  const [path] = useLocation();
  const search = useSearch();
  const next = path === "/" || path === "/sign-in" ? "" : `?next=${encodeURIComponent(search ? `${path}?${search}` : path)}`;
  return (
    <Switch>
      <Route path="/sign-in">
        <SignIn reason={reason} />
      </Route>
      <Route path="/sign-up">
        <SignUp />
      </Route>
      <Route path="/forgot-password">
        <ForgotPassword />
      </Route>
      <Route path={BEHIND_SIGN_IN}>
        <Redirect to={`/sign-in${next}`} replace />
      </Route>
      <Route>
        <NotFound />
      </Route>
    </Switch>
  );
}

function App() {
  const session = useSession();
  const [path] = useLocation();
  return (
    <Boundary path={path}>
      <Suspense fallback={<Loading />}>
        <Switch>
          {/* Links of mails work with and without a session here. */}
          <Route path="/reset-password">
            <NewPassword key="reset" />
          </Route>
          <Route path="/accept-invitation">
            <NewPassword key="invitation" invitation />
          </Route>
          <Route path="/verify-email">
            <VerifyEmail />
          </Route>
          <Route>
            {session.status === "starting" && <Loading />}
            {session.status === "signed-out" && <SignedOut reason={FAREWELLS[session.reason]} />}
            {session.status === "signed-in" && <SignedIn key={session.userId} />}
          </Route>
        </Switch>
      </Suspense>
    </Boundary>
  );
}

applyTheme();
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <RollcallProvider client={client}>
        <App />
      </RollcallProvider>
    </StrictMode>,
  );
}
