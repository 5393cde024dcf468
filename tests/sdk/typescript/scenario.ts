// The life of a user and their posts, through openapi-fetch typed by openapi-typescript.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

type Schemas = components["schemas"];

// Nothing that the contract types is `any` or `unknown`: this does not compile where something is.
type Known<T> = unknown extends T ? never : T extends object ? { [K in keyof T]: Known<T[K]> } : T;
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type Loose = { [Name in keyof Schemas]: Same<Schemas[Name], Known<Schemas[Name]>> extends true ? never : Name }[keyof Schemas];
const known: Same<Loose, never> = true;
assert.ok(known);

const [live, mocked] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: live! });

type Refused = Schemas["BadRequestProblem"] | Schemas["UserRefusedProblem"] | Schemas["PostRefusedProblem"];

function said(problem: Schemas["Problem"] | Schemas["IdempotencyKeyReusedProblem"] | Refused | undefined): string {
  assert.ok(problem);
  if ("errors" in problem) {
    return `${problem.status} ${problem.type} ${problem.errors.map((fault) => fault.in + fault.pointer).join(" ")}`;
  }
  assert.equal(problem.type, "about:blank");
  return `${problem.status} ${problem.type} ${problem.status === 404 ? problem.detail : problem.title}`;
}

async function pages(user_id: number): Promise<string> {
  const found: string[] = [];
  let query: NonNullable<operations["list_posts"]["parameters"]["query"]> = { user_id, limit: 2 };
  for (;;) {
    const { data, response } = await client.GET("/posts", { params: { query } });
    assert.ok(data);
    found.push(`[${data.map((post) => post.id).join(" ")}]`);
    const next = /^<(.*)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    if (next === undefined) {
      return found.join(" ");
    }
    const cursor = new URL(next, response.url).searchParams.get("cursor");
    assert.ok(cursor);
    query = { ...query, cursor };
  }
}

const created = await client.POST("/users", { body: { username: "Zoë 李", email: "zoe@example.com" } });
assert.ok(created.data);
const { id, username, email } = created.data;
console.log("created", id, username, email, created.response.headers.get("location"));
const user = { params: { path: { user_id: id } } };
const read = await client.GET("/users/{user_id}", user);
assert.ok(read.data);
console.log("read", read.data.id, read.data.username, read.data.email);
const changed = await client.PUT("/users/{user_id}", { ...user, body: { email: "zoe@example.org" } });
assert.ok(changed.data);
console.log("changed", changed.data.id, changed.data.username, changed.data.email);

for (const body of [
  { username: "", email: "zoe" },
  { username: "Zoë 李", email: "other@example.com" },
  { username: "other", email: "zoe@example.org" },
]) {
  console.log(said((await client.POST("/users", { body })).error));
}
for (const body of [
  { title: "Post", content: "Content", user_id: 999 },
  { title: "Post", content: "x".repeat(1_100_000), user_id: id },
]) {
  console.log(said((await client.POST("/posts", { body })).error));
}

for (let number = 1; number < 6; number += 1) {
  const body = { title: `Post ${number}`, content: `Content ${number}`, user_id: id };
  assert.equal((await client.POST("/posts", { body })).data?.title, body.title);
}
console.log("pages", await pages(id));
const post = { params: { path: { post_id: 5 } } };
const last = await client.GET("/posts/{post_id}", post);
console.log("post", last.data?.id, last.data?.title, "by", last.data?.author.username);
const renamed = await client.PUT("/posts/{post_id}", { ...post, body: { title: "Last" } });
console.log("changed", renamed.data?.id, renamed.data?.title);
console.log("deleted", (await client.DELETE("/posts/{post_id}", post)).data?.message);
console.log(said((await client.GET("/posts/{post_id}", post)).error));
console.log("deleted", (await client.DELETE("/users/{user_id}", user)).data?.message);
console.log(said((await client.GET("/users/{user_id}", user)).error));
console.log("pages", await pages(id));
const status: "ok" | undefined = (await client.GET("/health/live")).data?.status;
console.log("alive", status);

// What the real service does not answer on demand, from the mock server.
const mock = createClient<paths>({ baseUrl: mocked! });
for (const code of [400, 405, 408, 413, 415, 500, 503]) {
  const body = { username: "ada", email: "ada@example.com" };
  const { error, response } = await mock.POST("/users", { body, headers: { Prefer: `code=${code}` } });
  assert.equal(response.status, code);
  console.log("mock", said(error));
  assert.equal(response.headers.get("allow"), code === 405 ? "GET, HEAD, OPTIONS, POST" : null);
  assert.equal(response.headers.get("retry-after"), code === 503 ? "1" : null);
}
