// The JSON Schemas of requests and responses, as in openapi/openapi.yaml.

const object = (properties, required = Object.keys(properties)) => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties
})

const id = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER }
const username = {
  type: 'string',
  minLength: 1,
  maxLength: 80,
  pattern: '^[^\\x00-\\x20\\x7F-\\xA0]([^\\x00-\\x1F\\x7F-\\x9F]*[^\\x00-\\x20\\x7F-\\xA0])?$'
}
const email = { type: 'string', format: 'email', maxLength: 120 }

export const newUser = object({ username, email })
export const userChanges = { ...object({ username, email }, []), minProperties: 1 }
export const userPath = object({ user_id: id })
export const page = object(
  {
    limit: { type: 'integer', minimum: 1, maximum: 100, default: 100 },
    cursor: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 }
  },
  []
)

const text = { type: 'string' }
const stored = (maxLength) => ({ type: 'string', maxLength })
const fault = object({ in: text, pointer: text, detail: text })

export const liveness = object({ status: text })
export const user = object({ id, username: stored(80), email: stored(120) })
export const users = { type: 'array', items: user }
export const post = object({ id, title: stored(100), content: text, user_id: id, author: user })
export const posts = { type: 'array', items: post }
export const refusal = object({ error: text, errors: { type: 'array', items: fault } }, ['error'])
