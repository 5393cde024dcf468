package main

import (
	"database/sql"
	"errors"
	"strings"

	"github.com/lib/pq"
	"github.com/mattn/go-sqlite3"
)

type user struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email"`
}

type post struct {
	ID      int64  `json:"id"`
	Title   string `json:"title"`
	Content string `json:"content"`
	UserID  int64  `json:"user_id"`
	Author  user   `json:"author"`
}

// A database holds prepared statements, which database/sql prepares once on each connection.
type database struct {
	user, users, posts, insert              *sql.Stmt
	updateUsername, updateEmail, updateBoth *sql.Stmt
}

const returning = ` RETURNING id, username, email`

func openDatabase(url string) (*database, error) {
	reads, writes, err := connect(url)
	if err != nil {
		return nil, err
	}
	prepare := func(db *sql.DB, text string) *sql.Stmt {
		statement, failed := db.Prepare(text)
		err = errors.Join(err, failed)
		return statement
	}
	return &database{
		user:  prepare(reads, `SELECT id, username, email FROM users WHERE id = $1`),
		users: prepare(reads, `SELECT id, username, email FROM users WHERE id > $1 ORDER BY id LIMIT $2`),
		posts: prepare(reads, `SELECT p.id, p.title, p.content, p.user_id, u.id, u.username, u.email
			FROM posts AS p JOIN users AS u ON u.id = p.user_id WHERE p.id > $1 ORDER BY p.id LIMIT $2`),
		insert:         prepare(writes, `INSERT INTO users (username, email) VALUES ($1, $2)`+returning),
		updateUsername: prepare(writes, `UPDATE users SET username = $1 WHERE id = $2`+returning),
		updateEmail:    prepare(writes, `UPDATE users SET email = $1 WHERE id = $2`+returning),
		updateBoth:     prepare(writes, `UPDATE users SET username = $1, email = $2 WHERE id = $3`+returning),
	}, err
}

// connect opens one pool for reads and one for writes; SQLite has one writer at a time.
func connect(url string) (reads, writes *sql.DB, err error) {
	path, isSQLite := strings.CutPrefix(url, "sqlite:///")
	driver, source, writers := "postgres", strings.Replace(url, "+psycopg", "", 1), 4
	if isSQLite {
		options := "?_journal_mode=WAL&_synchronous=FULL&_foreign_keys=on&_busy_timeout=5000"
		driver, source, writers = "sqlite3", "file:"+path+options, 1
	}
	if reads, err = open(driver, source, 4); err != nil {
		return nil, nil, err
	}
	writes, err = open(driver, source, writers)
	return reads, writes, err
}

func open(driver, source string, connections int) (*sql.DB, error) {
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, db.Ping()
}

func (d *database) getUser(id int64) (user, error) {
	return userOf(d.user.QueryRow(id))
}

func (d *database) createUser(values map[string]string) (user, error) {
	return userOf(d.insert.QueryRow(values["username"], values["email"]))
}

func (d *database) updateUser(id int64, values map[string]string) (user, error) {
	username, named := values["username"]
	email, mailed := values["email"]
	switch {
	case named && mailed:
		return userOf(d.updateBoth.QueryRow(username, email, id))
	case named:
		return userOf(d.updateUsername.QueryRow(username, id))
	default:
		return userOf(d.updateEmail.QueryRow(email, id))
	}
}

func userOf(row *sql.Row) (u user, err error) {
	err = row.Scan(&u.ID, &u.Username, &u.Email)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = errNotFound
	case isTaken(err):
		err = errTaken
	}
	return u, err
}

func isTaken(err error) bool {
	var onSQLite sqlite3.Error
	var onPostgreSQL *pq.Error
	return errors.As(err, &onSQLite) && onSQLite.ExtendedCode == sqlite3.ErrConstraintUnique ||
		errors.As(err, &onPostgreSQL) && onPostgreSQL.Code == "23505"
}

func (d *database) listUsers(after int64, count int) ([]user, error) {
	return rowsOf(d.users, after, count, func(u *user) []any {
		return []any{&u.ID, &u.Username, &u.Email}
	})
}

func (d *database) listPosts(after int64, count int) ([]post, error) {
	return rowsOf(d.posts, after, count, func(p *post) []any {
		return []any{&p.ID, &p.Title, &p.Content, &p.UserID, &p.Author.ID, &p.Author.Username, &p.Author.Email}
	})
}

func rowsOf[T any](statement *sql.Stmt, after int64, count int, fields func(*T) []any) ([]T, error) {
	rows, err := statement.Query(after, count)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make([]T, 0, count)
	for rows.Next() {
		var one T
		if err := rows.Scan(fields(&one)...); err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, rows.Err()
}
