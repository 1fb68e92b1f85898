import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks gain nothing from more threads, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
