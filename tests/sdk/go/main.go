// The life of a user and their posts, through the generated client.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	api "example.com/you/usersposts"
)

var ctx = context.Background()

// must stops the program where an error is not expected.
func must[T any](value T, _ *http.Response, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// said is a problem in a line, by the fields of its type.
func said(err error) string {
	var refused *api.GenericOpenAPIError
	if !errors.As(err, &refused) {
		panic(err)
	}
	switch problem := refused.Model().(type) {
	case api.BadRequestProblem:
		return refusal(problem.Status, problem.Type, problem.Errors)
	case api.UserRefusedProblem:
		return refusal(problem.Status, problem.Type, problem.Errors)
	case api.PostRefusedProblem:
		return refusal(problem.Status, problem.Type, problem.Errors)
	case api.Problem:
		if problem.Status == 404 {
			return fmt.Sprint(problem.Status, " ", problem.Type, " ", problem.Detail)
		}
		return fmt.Sprint(problem.Status, " ", problem.Type, " ", problem.Title)
	default:
		panic(err)
	}
}

// refusal is a 400 in a line.
func refusal(status int32, kind string, faults []api.FieldError) string {
	places := []string{}
	for _, fault := range faults {
		places = append(places, fault.In+fault.Pointer)
	}
	return fmt.Sprint(status, " ", kind, " ", strings.Join(places, " "))
}

// pages is the ids of the user's posts, page by page.
func pages(client *api.APIClient, userId int64) string {
	found := []string{}
	request := client.PostsAPI.ListPosts(ctx).UserId(userId).Limit(2)
	for {
		page, response, err := request.Execute()
		must(page, response, err)
		ids := []int64{}
		for _, post := range page {
			ids = append(ids, post.Id)
		}
		found = append(found, fmt.Sprint(ids))
		next := regexp.MustCompile(`^<(.*)>; rel="next"$`).FindStringSubmatch(response.Header.Get("Link"))
		if next == nil {
			return strings.Join(found, " ")
		}
		target, err := url.Parse(next[1])
		if err != nil {
			panic(err)
		}
		request = request.Cursor(target.Query().Get("cursor"))
	}
}

func main() {
	client := api.NewAPIClient(api.NewConfiguration())
	users, posts := client.UsersAPI, client.PostsAPI

	created, response, err := users.CreateUser(ctx).UserInput(*api.NewUserInput("Zoë 李", "zoe@example.com")).Execute()
	user := must(created, response, err)
	fmt.Println("created", user.Id, user.Username, user.Email, response.Header.Get("Location"))
	user = must(users.GetUser(ctx, user.Id).Execute())
	fmt.Println("read", user.Id, user.Username, user.Email)
	changes := api.UserChanges{}
	changes.SetEmail("zoe@example.org")
	user = must(users.UpdateUser(ctx, user.Id).UserChanges(changes).Execute())
	fmt.Println("changed", user.Id, user.Username, user.Email)

	for _, input := range []*api.UserInput{
		api.NewUserInput("", "zoe"),
		api.NewUserInput("Zoë 李", "other@example.com"),
		api.NewUserInput("other", "zoe@example.org"),
	} {
		_, _, err = users.CreateUser(ctx).UserInput(*input).Execute()
		fmt.Println(said(err))
	}
	for _, input := range []*api.PostInput{
		api.NewPostInput("Post", "Content", 999),
		api.NewPostInput("Post", strings.Repeat("x", 1_100_000), user.Id),
	} {
		_, _, err = posts.CreatePost(ctx).PostInput(*input).Execute()
		fmt.Println(said(err))
	}

	for number := 1; number < 6; number++ {
		input := api.NewPostInput(fmt.Sprint("Post ", number), fmt.Sprint("Content ", number), user.Id)
		must(posts.CreatePost(ctx).PostInput(*input).Execute())
	}
	fmt.Println("pages", pages(client, user.Id))
	post := must(posts.GetPost(ctx, 5).Execute())
	fmt.Println("post", post.Id, post.Title, "by", post.Author.Username)
	title := api.PostChanges{}
	title.SetTitle("Last")
	post = must(posts.UpdatePost(ctx, 5).PostChanges(title).Execute())
	fmt.Println("changed", post.Id, post.Title)
	fmt.Println("deleted", must(posts.DeletePost(ctx, 5).Execute()).Message)
	_, _, err = posts.GetPost(ctx, 5).Execute()
	fmt.Println(said(err))
	fmt.Println("deleted", must(users.DeleteUser(ctx, user.Id).Execute()).Message)
	_, _, err = users.GetUser(ctx, user.Id).Execute()
	fmt.Println(said(err))
	fmt.Println("pages", pages(client, user.Id))
	fmt.Println("alive", must(client.HealthAPI.GetLiveness(ctx).Execute()).Status)

	// What the real service does not answer on demand, from the mock server.
	for _, status := range []int{400, 405, 408, 413, 415, 500, 503} {
		configuration := api.NewConfiguration()
		configuration.Servers[0].URL = os.Args[1]
		// The client accepts JSON alone, which the mock server would hold against the problems.
		configuration.AddDefaultHeader("Accept", "application/problem+json")
		configuration.AddDefaultHeader("Prefer", fmt.Sprint("code=", status))
		mock := api.NewAPIClient(configuration).UsersAPI
		_, response, err = mock.CreateUser(ctx).UserInput(*api.NewUserInput("ada", "ada@example.com")).Execute()
		fmt.Println("mock", said(err))
		if status == 405 && response.Header.Get("Allow") != "GET, HEAD, OPTIONS, POST" {
			panic(response.Header)
		}
		if status == 503 && response.Header.Get("Retry-After") != "1" {
			panic(response.Header)
		}
	}
}
