"""django-modern-rest: synchronous controllers and Django's ORM; Pydantic models, so that all faults are listed."""

from http import HTTPStatus
from typing import Any

from django.db import IntegrityError, models
from django.http import HttpResponse
from django.urls import path
from dmr import APIError, Body, Controller, HeaderSpec, Path, Query, ResponseSpec, modify, validate
from dmr.errors import ErrorModel
from dmr.plugins.pydantic import PydanticFastSerializer
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.peers.pydantic_models import Liveness, PostOut, UserCreate, UserOut, UserUpdate
from benchmarks.peers.tables import next_link


class User(models.Model):  # noqa: DJ008 - nothing prints it
    username = models.CharField(max_length=80, unique=True)
    email = models.CharField(max_length=120, unique=True)

    class Meta:
        app_label, db_table, managed = "peers", "users", False


class Post(models.Model):  # noqa: DJ008 - nothing prints it
    title = models.CharField(max_length=100)
    content = models.TextField()
    author = models.ForeignKey(User, models.CASCADE, db_column="user_id")

    class Meta:
        app_label, db_table, managed = "peers", "posts", False

    @property
    def user_id(self) -> int:
        return self.author_id


class UserPath(BaseModel):
    user_id: int = Field(ge=1, le=2**53 - 1)


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=100)
    cursor: int = Field(0, ge=0)


_NOT_FOUND = ResponseSpec(ErrorModel, status_code=HTTPStatus.NOT_FOUND)
_LINK = {"Link": HeaderSpec(required=False)}


class LivenessController(Controller[PydanticFastSerializer]):
    def get(self) -> Liveness:
        return Liveness(status="ok")


class UserController(Controller[PydanticFastSerializer]):
    @modify(extra_responses=[_NOT_FOUND])
    def get(self, parsed_path: Path[UserPath]) -> UserOut:
        return UserOut.model_validate(self._found(parsed_path.user_id))

    @modify(extra_responses=[_NOT_FOUND])
    def put(self, parsed_path: Path[UserPath], parsed_body: Body[UserUpdate]) -> UserOut:
        user = self._found(parsed_path.user_id)
        changes = parsed_body.model_dump(exclude_unset=True)
        for name, value in changes.items():
            setattr(user, name, value)
        try:
            user.save(update_fields=changes)
        except IntegrityError:
            raise _taken(self) from None
        return UserOut.model_validate(user)

    def _found(self, user_id: int) -> User:
        try:
            return User.objects.get(pk=user_id)
        except User.DoesNotExist:
            raise APIError(self.format_error("User not found"), status_code=HTTPStatus.NOT_FOUND) from None


class UsersController(Controller[PydanticFastSerializer]):
    @validate(ResponseSpec(list[UserOut], status_code=HTTPStatus.OK, headers=_LINK))
    def get(self, parsed_query: Query[Page]) -> HttpResponse:
        users = list(User.objects.filter(id__gt=parsed_query.cursor).order_by("id")[: parsed_query.limit])
        return _page(self, "/api/users", parsed_query, [UserOut.model_validate(user) for user in users])

    @validate(ResponseSpec(UserOut, status_code=HTTPStatus.CREATED, headers={"Location": HeaderSpec()}))
    def post(self, parsed_body: Body[UserCreate]) -> HttpResponse:
        try:
            user = User.objects.create(**parsed_body.model_dump())
        except IntegrityError:
            raise _taken(self) from None
        location = {"Location": f"/api/users/{user.id}"}
        return self.to_response(UserOut.model_validate(user), status_code=HTTPStatus.CREATED, headers=location)


class PostsController(Controller[PydanticFastSerializer]):
    @validate(ResponseSpec(list[PostOut], status_code=HTTPStatus.OK, headers=_LINK))
    def get(self, parsed_query: Query[Page]) -> HttpResponse:
        posts = Post.objects.filter(id__gt=parsed_query.cursor).order_by("id").select_related("author")
        shown = [PostOut.model_validate(post) for post in posts[: parsed_query.limit]]
        return _page(self, "/api/posts", parsed_query, shown)


def _taken(controller: Controller) -> APIError:
    return APIError(controller.format_error("Username or email already exists"), status_code=HTTPStatus.BAD_REQUEST)


def _page(controller: Controller, path: str, page: Page, rows: list[Any]) -> HttpResponse:
    link = {"Link": next_link(path, page.limit, rows[-1].id)} if len(rows) == page.limit else {}
    return controller.to_response(rows, status_code=HTTPStatus.OK, headers=link)


urlpatterns = [
    path("api/health/live", LivenessController.as_view()),
    path("api/users/<int:user_id>", UserController.as_view()),
    path("api/users", UsersController.as_view()),
    path("api/posts", PostsController.as_view()),
]
