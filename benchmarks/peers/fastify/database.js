// The statements, on better-sqlite3 or on pg, each prepared once per connection. `query` returns the rows.
import SQLite from 'better-sqlite3'
import pg from 'pg'

const USER = 'id, username, email'

export class Taken extends Error {}

export function openDatabase (url) {
  const query = url.startsWith('sqlite:') ? openSQLite(url) : openPostgreSQL(url)
  return {
    user: async (id) => (await query(`SELECT ${USER} FROM users WHERE id = ?`, [id]))[0],
    users: (after, count) => query(`SELECT ${USER} FROM users WHERE id > ? ORDER BY id LIMIT ?`, [after, count]),
    posts: async (after, count) => (await query(POSTS, [after, count])).map(shapePost),
    createUser: async ({ username, email }) => (await query(INSERT, [username, email]))[0],
    updateUser: async (id, changes) => {
      const columns = Object.keys(changes).map((name) => `${name} = ?`).join(', ')
      return (await query(`UPDATE users SET ${columns} WHERE id = ? RETURNING ${USER}`, [...Object.values(changes), id]))[0]
    }
  }
}

const INSERT = `INSERT INTO users (username, email) VALUES (?, ?) RETURNING ${USER}`
const POSTS = `
  SELECT p.id, p.title, p.content, p.user_id, u.id AS author_id, u.username, u.email
  FROM posts AS p JOIN users AS u ON u.id = p.user_id WHERE p.id > ? ORDER BY p.id LIMIT ?`

function shapePost ({ id, title, content, user_id, author_id, username, email }) {
  return { id, title, content, user_id, author: { id: author_id, username, email } }
}

function openSQLite (url) {
  const database = new SQLite(url.replace('sqlite:///', ''))
  for (const pragma of ['journal_mode = WAL', 'synchronous = FULL', 'foreign_keys = ON']) database.pragma(pragma)
  const prepare = remembered((text) => database.prepare(text))
  return (text, values) => {
    try {
      return prepare(text).all(values)
    } catch (error) {
      throw error.code === 'SQLITE_CONSTRAINT_UNIQUE' ? new Taken() : error
    }
  }
}

function openPostgreSQL (url) {
  pg.types.setTypeParser(pg.types.builtins.INT8, Number)
  const pool = new pg.Pool({ connectionString: url.replace('+psycopg', '') })
  const prepare = remembered((text, number) => {
    let place = 0
    return { name: `statement ${number}`, text: text.replaceAll('?', () => `$${++place}`) }
  })
  return async (text, values) => {
    try {
      return (await pool.query({ ...prepare(text), values })).rows
    } catch (error) {
      throw error.code === '23505' ? new Taken() : error
    }
  }
}

function remembered (make) {
  const made = new Map()
  return (text) => {
    if (!made.has(text)) made.set(text, make(text, made.size))
    return made.get(text)
  }
}
