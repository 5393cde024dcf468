// The life of a user and their posts, through the generated client on Java's own HTTP client.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.io.PrintStream;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.ApiResponse;
import org.openapitools.client.Configuration;
import org.openapitools.client.api.HealthApi;
import org.openapitools.client.api.PostsApi;
import org.openapitools.client.api.UsersApi;
import org.openapitools.client.model.FieldError;
import org.openapitools.client.model.Health;
import org.openapitools.client.model.NewPost;
import org.openapitools.client.model.NewUser;
import org.openapitools.client.model.Post;
import org.openapitools.client.model.PostChanges;
import org.openapitools.client.model.PostRefusedProblem;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.User;
import org.openapitools.client.model.UserChanges;
import org.openapitools.client.model.UserRefusedProblem;

public class Scenario {
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    interface Call {
        void run() throws ApiException;
    }

    /** The 400 of an operation in a line, from the body of the answer. */
    interface Refusal {
        String read(String body) throws IOException;
    }

    static final ObjectMapper MAPPER = Configuration.getDefaultApiClient().getObjectMapper();

    static final Refusal USER = body -> {
        UserRefusedProblem problem = MAPPER.readValue(body, UserRefusedProblem.class);
        return line(problem.getStatus(), problem.getType().getValue(), problem.getErrors());
    };

    static final Refusal POST = body -> {
        PostRefusedProblem problem = MAPPER.readValue(body, PostRefusedProblem.class);
        return line(problem.getStatus(), problem.getType().getValue(), problem.getErrors());
    };

    static String line(int status, String type, List<FieldError> errors) {
        return status + " " + type + " " + errors.stream()
            .map(fault -> fault.getIn() + fault.getPointer()).collect(Collectors.joining(" "));
    }

    /** A problem in a line, by the members of its type. */
    static String said(Refusal refusal, Call call) throws IOException {
        ApiException error = null;
        try {
            call.run();
        } catch (ApiException thrown) {
            error = thrown;
        }
        if (error.getCode() == 400) {
            return refusal.read(error.getResponseBody());
        }
        Problem problem = MAPPER.readValue(error.getResponseBody(), Problem.class);
        check(problem.getType() == Problem.TypeEnum.ABOUT_BLANK);
        check(problem.getStatus() == error.getCode());
        return problem.getStatus() + " " + problem.getType() + " "
            + (problem.getStatus() == 404 ? problem.getDetail() : problem.getTitle());
    }

    static void check(boolean fact) {
        if (!fact) {
            throw new AssertionError();
        }
    }

    /** The ids of the user's posts, page by page. */
    static String pages(PostsApi posts, Long userId) throws ApiException {
        List<String> found = new ArrayList<>();
        String cursor = null;
        while (true) {
            ApiResponse<List<Post>> page = posts.listPostsWithHttpInfo(userId, 2, cursor);
            found.add(page.getData().stream().map(post -> post.getId().toString()).toList()
                .toString().replace(",", ""));
            List<String> link = page.getHeaders().get("link");
            if (link == null) {
                return String.join(" ", found);
            }
            Matcher next = Pattern.compile("^<(.*)>; rel=\"next\"$").matcher(link.get(0));
            check(next.matches());
            Matcher parameter = Pattern.compile("(^|&)cursor=([^&]+)").matcher(URI.create(next.group(1)).getQuery());
            check(parameter.find());
            cursor = parameter.group(2);
        }
    }

    public static void main(String[] arguments) throws Exception {
        UsersApi users = new UsersApi();
        PostsApi posts = new PostsApi();

        ApiResponse<User> created =
            users.createUserWithHttpInfo(new NewUser().username("Zoë 李").email("zoe@example.com"), null);
        User user = created.getData();
        OUT.println("created " + user.getId() + " " + user.getUsername() + " " + user.getEmail() + " "
            + created.getHeaders().get("location").get(0));
        Long id = user.getId();
        user = users.getUser(id, null);
        OUT.println("read " + user.getId() + " " + user.getUsername() + " " + user.getEmail());
        user = users.updateUser(id, new UserChanges().email("zoe@example.org"), null);
        OUT.println("changed " + user.getId() + " " + user.getUsername() + " " + user.getEmail());

        OUT.println(said(USER, () -> users.createUser(new NewUser().username("").email("zoe"), null)));
        OUT.println(said(USER, () -> users.createUser(new NewUser().username("Zoë 李").email("other@example.com"), null)));
        OUT.println(said(USER, () -> users.createUser(new NewUser().username("other").email("zoe@example.org"), null)));
        OUT.println(said(POST, () -> posts.createPost(new NewPost().title("Post").content("Content").userId(999L), null)));
        OUT.println(said(POST, () ->
            posts.createPost(new NewPost().title("Post").content("x".repeat(1_100_000)).userId(id), null)));

        for (int number = 1; number < 6; number++) {
            posts.createPost(new NewPost().title("Post " + number).content("Content " + number).userId(id), null);
        }
        OUT.println("pages " + pages(posts, id));
        Post post = posts.getPost(5L, null);
        OUT.println("post " + post.getId() + " " + post.getTitle() + " by " + post.getAuthor().getUsername());
        post = posts.updatePost(5L, new PostChanges().title("Last"), null);
        OUT.println("changed " + post.getId() + " " + post.getTitle());
        OUT.println("deleted " + posts.deletePost(5L, null).getMessage());
        OUT.println(said(POST, () -> posts.getPost(5L, null)));
        OUT.println("deleted " + users.deleteUser(id, null).getMessage());
        OUT.println(said(USER, () -> users.getUser(id, null)));
        OUT.println("pages " + pages(posts, id));
        Health health = new HealthApi().getLiveness();
        check(health.getStatus() == Health.StatusEnum.OK);
        OUT.println("alive " + health.getStatus());

        // What the real service does not answer on demand, from the mock server.
        ApiClient mock = new ApiClient();
        mock.updateBaseUri(arguments[0]);
        UsersApi mocked = new UsersApi(mock);
        NewUser ada = new NewUser().username("ada").email("ada@example.com");
        for (int status : new int[] {400, 405, 408, 413, 415, 500, 503}) {
            Map<String, String> preferred = Map.of("Prefer", "code=" + status);
            OUT.println("mock " + said(USER, () -> mocked.createUser(ada, null, preferred)));
        }
        try {
            mocked.createUser(ada, null, Map.of("Prefer", "code=503"));
        } catch (ApiException error) {
            check(error.getResponseHeaders().firstValueAsLong("Retry-After").getAsLong() == 1);
        }
    }
}
