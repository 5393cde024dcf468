"""The JSON form of a row. These schemas only dump; the contract checks requests."""

from marshmallow import fields
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema

from api.models import Post, User


class UserSchema(SQLAlchemyAutoSchema[User]):
    """A user with all columns but the version."""

    class Meta:
        model = User
        exclude = ("version",)


class PostSchema(SQLAlchemyAutoSchema[Post]):
    """A post with all columns but the version, and with its author."""

    class Meta:
        model = Post
        include_fk = True
        fields = ("id", "title", "content", "user_id", "author")  # in this order

    author = fields.Nested(UserSchema)


user_schema = UserSchema()
users_schema = UserSchema(many=True)
post_schema = PostSchema()
posts_schema = PostSchema(many=True)
