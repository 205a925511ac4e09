// Verifies many deliveries by the published libraries: a JSON list of cases comes in, a list of results goes out.
import { createLocalJWKSet, jwtVerify } from "jose";
import * as standardwebhooks from "standardwebhooks";
import * as svix from "svix";

const verifiers = {
  standardwebhooks: ({ secret, body, headers }) => new standardwebhooks.Webhook(secret).verify(body, headers),
  svix: ({ secret, body, headers }) => new svix.Webhook(secret).verify(body, headers),
  jose: async ({ token, jwks, options }) => (await jwtVerify(token, createLocalJWKSet(jwks), options)).payload,
};

async function result({ library, ...letter }) {
  try {
    return { said: await verifiers[library](letter) };
  } catch (error) {
    return { refused: error.name, why: error.message };
  }
}

let text = "";
for await (const chunk of process.stdin) text += chunk;
console.log(JSON.stringify(await Promise.all(JSON.parse(text).map(result))));
