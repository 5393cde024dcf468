// The six operations in Fastify 5, strict: unknown members are refused, bodies are not coerced, all faults of a body
// are listed, responses are validated. `node server.js PORT`
import responseValidation from '@fastify/response-validation'
import Ajv from 'ajv'
import addFormats from 'ajv-formats'
import Fastify from 'fastify'
import { openDatabase, Taken } from './database.js'
import * as schemas from './schemas.js'

const strict = { strict: true, allErrors: true, coerceTypes: false, removeAdditional: false, useDefaults: false }
const ajv = addFormats(new Ajv(strict))
// Parameters arrive as text: only there are types coerced and defaults filled in.
const ajvOfParameters = new Ajv({ ...strict, coerceTypes: true, useDefaults: true })

const app = Fastify()
app.removeContentTypeParser('text/plain')
const database = openDatabase(process.env.DATABASE_URL)

app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? ajv : ajvOfParameters).compile(schema))
app.setErrorHandler((error, _request, reply) => {
  if (error instanceof Taken) return reply.code(400).send({ error: 'Username or email already exists' })
  if (error.validation) return reply.code(400).send({ error: 'Invalid request', errors: faults(error) })
  const status = error.statusCode ?? 500
  if (status >= 500) console.error(error)
  return reply.code(status).send({ error: status < 500 ? error.message : 'Internal Server Error' })
})
await app.register(responseValidation, { ajv, responseStatusCodeValidation: true })

const answers = (status, schema) => ({ [status]: schema, '4xx': schemas.refusal, 500: schemas.refusal })

app.get('/api/health/live', { schema: { response: answers(200, schemas.liveness) } }, async () => ({ status: 'ok' }))

app.get(
  '/api/users/:user_id',
  { schema: { params: schemas.userPath, response: answers(200, schemas.user) } },
  async (request, reply) => (await database.user(request.params.user_id)) ?? notFound(reply)
)

app.get(
  '/api/users',
  { schema: { querystring: schemas.page, response: answers(200, schemas.users) } },
  async ({ query }, reply) => onePage(reply, '/api/users', query, await database.users(query.cursor, query.limit + 1))
)

app.get(
  '/api/posts',
  { schema: { querystring: schemas.page, response: answers(200, schemas.posts) } },
  async ({ query }, reply) => onePage(reply, '/api/posts', query, await database.posts(query.cursor, query.limit + 1))
)

app.post(
  '/api/users',
  { schema: { body: schemas.newUser, response: answers(201, schemas.user) } },
  async (request, reply) => {
    const user = await database.createUser(request.body)
    reply.code(201).header('location', `/api/users/${user.id}`)
    return user
  }
)

app.put(
  '/api/users/:user_id',
  { schema: { params: schemas.userPath, body: schemas.userChanges, response: answers(200, schemas.user) } },
  async (request, reply) => (await database.updateUser(request.params.user_id, request.body)) ?? notFound(reply)
)

await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) })

function notFound (reply) {
  reply.code(404)
  return { error: 'User not found' }
}

// The rows are one more than the page when there is a next page.
function onePage (reply, path, { limit }, rows) {
  if (rows.length <= limit) return rows
  rows.pop()
  reply.header('link', `<${path}?limit=${limit}&cursor=${rows.at(-1).id}>; rel="next"`)
  return rows
}

function faults ({ validation, validationContext }) {
  return validation.map(({ instancePath, message, params }) => ({
    in: validationContext,
    pointer: params.additionalProperty === undefined ? instancePath : `${instancePath}/${params.additionalProperty}`,
    detail: message
  }))
}
