import { createClient, inStorage } from "@rollcall/client";
import { RollcallProvider, useSession, useUserChanges, useUsers } from "@rollcall/client/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

function App() {
  const session = useSession();
  const { data } = useUsers({ first: 100 });
  const [changes, setChanges] = useState<string[]>([]);
  useUserChanges({}, ({ position, type, user }) => setChanges((all) => [...all, `${position} ${type} ${user?.name ?? ""}`]));
  const signIn = (form: FormData) => void session.signIn(String(form.get("login")), String(form.get("password")));
  if (session.status === "starting") return <p>…</p>;
  if (session.status === "signed-out") return <form action={signIn}><input name="login" /><input name="password" type="password" /><button>Sign in</button></form>;
  return <main><button onClick={() => void session.signOut()}>Sign out</button>
    <ul id="users">{data?.users.map(({ id, name }) => <li key={id}>{name}</li>)}</ul>
    <ol id="changes">{changes.map((change) => <li key={change}>{change}</li>)}</ol></main>;
}

const client = createClient({ url: "http://127.0.0.1:8000/graphql", session: inStorage(localStorage) });
createRoot(document.body).render(<RollcallProvider client={client}><App /></RollcallProvider>);
