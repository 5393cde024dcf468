package main

import (
	"encoding/json/jsontext"
	json "encoding/json/v2"
	"io"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

const (
	maxID        = 1<<53 - 1
	maxBodyBytes = 1 << 20
)

var isEmail = regexp.MustCompile(`^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+$`).MatchString

func invalid(faults ...fault) error {
	return &refusal{status: http.StatusBadRequest, Error_: "Invalid request", Errors: faults}
}

func userID(r *http.Request) (int64, error) {
	id, ok := number(r.PathValue("user_id"))
	if !ok || id < 1 {
		return 0, invalid(fault{"path", "/user_id", "must be an integer from 1 to 2^53-1"})
	}
	return id, nil
}

// page returns the limit and the cursor of the query, or every fault of the query.
func page(r *http.Request) (limit int, cursor int64, err error) {
	limit = 100
	var faults []fault
	for name, values := range r.URL.Query() {
		n, ok := number(values[0])
		switch {
		case name != "limit" && name != "cursor":
			faults = append(faults, fault{"query", "/" + name, "is not a known parameter"})
		case len(values) > 1:
			faults = append(faults, fault{"query", "/" + name, "must be given once"})
		case name == "cursor" && ok:
			cursor = n
		case name == "limit" && ok && n >= 1 && n <= 100:
			limit = int(n)
		default:
			faults = append(faults, fault{"query", "/" + name, "must be an integer in its range"})
		}
	}
	if faults != nil {
		return 0, 0, invalid(faults...)
	}
	return limit, cursor, nil
}

// number reads plain decimal digits: ParseUint accepts no sign and no blanks.
func number(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return int64(n), err == nil && n <= maxID
}

// userValues returns the members of the body, or every fault of the body.
func userValues(r *http.Request, required ...string) (map[string]string, error) {
	members, err := object(r)
	if err != nil {
		return nil, err
	}
	var faults []fault
	for _, name := range required {
		if _, given := members[name]; !given {
			faults = append(faults, fault{"body", "/" + name, "is required"})
		}
	}
	values := make(map[string]string, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, detail := userValue(name, members[name])
		if detail != "" {
			faults = append(faults, fault{"body", "/" + name, detail})
		}
		values[name] = value
	}
	if len(members) == 0 {
		faults = append(faults, fault{"body", "", "must have at least 1 member"})
	}
	if faults != nil {
		return nil, invalid(faults...)
	}
	return values, nil
}

// object decodes the body. encoding/json/v2 refuses invalid UTF-8, repeated members and anything after the object.
func object(r *http.Request) (members map[string]jsontext.Value, err error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, given := parameters["charset"]; err != nil || kind != "application/json" || given && charset != "utf-8" {
		return nil, &refusal{status: http.StatusUnsupportedMediaType, Error_: "The body must be JSON"}
	}
	content, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	if err != nil {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, Error_: "The body is too large"}
	}
	if err := json.Unmarshal(content, &members); err != nil || members == nil {
		return nil, invalid(fault{"body", "", "must be a JSON object"})
	}
	return members, nil
}

// userValue returns the text of a member, and what is wrong with it.
func userValue(name string, value jsontext.Value) (text string, detail string) {
	if name != "username" && name != "email" {
		return "", "is not a known member"
	}
	if value.Kind() != '"' || json.Unmarshal(value, &text) != nil {
		return "", "must be a string"
	}
	length := utf8.RuneCountInString(text)
	switch {
	case length == 0:
		return "", "must have at least 1 character"
	case name == "username" && length > 80:
		return "", "must have at most 80 characters"
	case name == "username" && !isName(text):
		return "", "must have no control characters, and no space at either end"
	case name == "email" && length > 120:
		return "", "must have at most 120 characters"
	case name == "email" && !isEmail(text):
		return "", "must be an e-mail address"
	}
	return text, ""
}

func isName(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) {
			return false
		}
	}
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	return first != ' ' && first != '\u00A0' && last != ' ' && last != '\u00A0'
}
