"""What every task store must do; a test class inherits it and gives a `make_store` fixture."""

from __future__ import annotations

import pytest

from api.store import SqlTaskStore
from tests.api.store_contract.accounts import AccountContract
from tests.api.store_contract.claiming import ClaimingContract
from tests.api.store_contract.ending import EndingContract
from tests.api.store_contract.keeping import KeepingContract
from tests.api.store_contract.leases import LeaseContract
from tests.api.store_contract.previews import PreviewContract
from tests.api.store_contract.rates import RateContract
from tests.api.store_contract.sharing import SharingContract
from tests.api.store_contract.stored import MakeStore
from tests.api.store_contract.storing import StoringContract


class TaskStoreContract(
    StoringContract,
    ClaimingContract,
    SharingContract,
    LeaseContract,
    PreviewContract,
    EndingContract,
    KeepingContract,
    AccountContract,
    RateContract,
):
    """Inherit and define the fixture `make_store`: opens the same store again and again."""

    @pytest.fixture
    def store(self, make_store: MakeStore) -> SqlTaskStore:
        return make_store()
