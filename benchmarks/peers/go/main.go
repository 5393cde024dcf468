// Command peer serves the six operations with net/http. Decoding and checks are written by hand; there is no contract.
package main

import (
	json "encoding/json/v2"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
)

type server struct{ *database }

// A handler returns the body of a 200, or an error: a refusal, or anything else for a 500. It may set the header.
type handler func(header http.Header, r *http.Request) (any, error)

type refusal struct {
	status int
	Error_ string  `json:"error"`
	Errors []fault `json:"errors,omitempty"`
}

func (r *refusal) Error() string { return r.Error_ }

type fault struct {
	In      string `json:"in"`
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

var (
	errTaken    = &refusal{status: http.StatusBadRequest, Error_: "Username or email already exists"}
	errNotFound = &refusal{status: http.StatusNotFound, Error_: "User not found"}
	errInternal = &refusal{status: http.StatusInternalServerError, Error_: "Internal Server Error"}
)

func main() {
	database, err := openDatabase(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	s := server{database}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health/live", answer(http.StatusOK, s.liveness))
	mux.HandleFunc("GET /api/users/{user_id}", answer(http.StatusOK, s.getUser))
	mux.HandleFunc("GET /api/users", answer(http.StatusOK, s.listUsers))
	mux.HandleFunc("GET /api/posts", answer(http.StatusOK, s.listPosts))
	mux.HandleFunc("POST /api/users", answer(http.StatusCreated, s.createUser))
	mux.HandleFunc("PUT /api/users/{user_id}", answer(http.StatusOK, s.updateUser))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}

func answer(status int, handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := handle(w.Header(), r)
		if err != nil {
			refused := errInternal
			if !errors.As(err, &refused) {
				log.Print(err)
			}
			send(w, refused.status, refused)
			return
		}
		send(w, status, result)
	}
}

func send(w http.ResponseWriter, status int, body any) {
	content, err := json.Marshal(body)
	if err != nil {
		log.Print(err)
		status, content = http.StatusInternalServerError, []byte(`{"error":"Internal Server Error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	w.Write(content)
}

func (s server) liveness(http.Header, *http.Request) (any, error) {
	return struct {
		Status string `json:"status"`
	}{"ok"}, nil
}

func (s server) getUser(_ http.Header, r *http.Request) (any, error) {
	id, err := userID(r)
	if err != nil {
		return nil, err
	}
	return s.database.getUser(id)
}

func (s server) listUsers(header http.Header, r *http.Request) (any, error) {
	limit, cursor, err := page(r)
	if err != nil {
		return nil, err
	}
	users, err := s.database.listUsers(cursor, limit+1)
	if err == nil && len(users) > limit {
		users = users[:limit]
		linkNext(header, "/api/users", limit, users[limit-1].ID)
	}
	return users, err
}

func (s server) listPosts(header http.Header, r *http.Request) (any, error) {
	limit, cursor, err := page(r)
	if err != nil {
		return nil, err
	}
	posts, err := s.database.listPosts(cursor, limit+1)
	if err == nil && len(posts) > limit {
		posts = posts[:limit]
		linkNext(header, "/api/posts", limit, posts[limit-1].ID)
	}
	return posts, err
}

func linkNext(header http.Header, path string, limit int, last int64) {
	header.Set("Link", fmt.Sprintf(`<%s?limit=%d&cursor=%d>; rel="next"`, path, limit, last))
}

func (s server) createUser(header http.Header, r *http.Request) (any, error) {
	values, err := userValues(r, "username", "email")
	if err != nil {
		return nil, err
	}
	user, err := s.database.createUser(values)
	if err != nil {
		return nil, err
	}
	header.Set("Location", "/api/users/"+strconv.FormatInt(user.ID, 10))
	return user, nil
}

func (s server) updateUser(_ http.Header, r *http.Request) (any, error) {
	id, err := userID(r)
	if err != nil {
		return nil, err
	}
	values, err := userValues(r)
	if err != nil {
		return nil, err
	}
	return s.database.updateUser(id, values)
}
