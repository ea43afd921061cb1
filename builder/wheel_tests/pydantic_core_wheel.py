"""Runs inside the emulated environment: does a schema accept and refuse what it should?"""

from kit import report


def check_validation() -> tuple[bool, str]:
    from pydantic_core import SchemaValidator, ValidationError, core_schema

    fields = {"age": core_schema.typed_dict_field(core_schema.int_schema(ge=18))}
    validator = SchemaValidator(core_schema.typed_dict_schema(fields))
    taken = validator.validate_json('{"age": "42"}')
    try:
        validator.validate_python({"age": 3})
    except ValidationError as error:
        return taken == {"age": 42} and error.error_count() == 1, str(error.errors()[0]["type"])
    return False, "3 was accepted where at least 18 is asked for"


if __name__ == "__main__":
    report({"validation": check_validation})
