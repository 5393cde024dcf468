"""A contract-first runtime for Connexion and Flask: the OpenAPI document compiled once, kept to the letter."""

from api.contract.app import MAX_BODY_BYTES, ContractApp
from api.contract.document import ContractError, find_contract
from api.contract.workers import Workers

__all__ = ["MAX_BODY_BYTES", "ContractApp", "ContractError", "Workers", "find_contract"]
