"""Traces are read as their makers write them, and what is wrong in one is named by its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from llmux.simulate.traces import Rates, TraceError, read_traces


def write(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


OURS = "t,model,prompt_tokens,output_tokens,session\n"


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_ours_is_read_plain_and_packed(tmp_path: Path, name: str) -> None:
    trace = write(tmp_path, f"{OURS}10.5,llama,4000,80,\n10.0,qwen/7b,0,40,s1\n", name)
    workload = read_traces([trace])
    assert workload.name == "trace"
    assert workload.models == ("llama", "qwen/7b")
    first, second = workload.jobs
    assert (first.arrival, first.model, first.service) == (0.0, "qwen/7b", 1.0)
    assert (second.arrival, second.model, second.service) == (0.5, "llama", 3.0)


def test_the_clients_own_limit_and_a_priority_are_kept(tmp_path: Path) -> None:
    header = "t,model,prompt_tokens,output_tokens,max_tokens,priority\n"
    trace = write(tmp_path, f"{header}0,a,1,1,256,2.5\n1,a,1,1,,\n")
    told, untold = read_traces([trace]).jobs
    assert (told.max_tokens, told.priority) == (256, 2.5)
    assert (untold.max_tokens, untold.priority) == (None, 1.0)


def test_a_hint_at_the_next_model_is_kept(tmp_path: Path) -> None:
    trace = write(tmp_path, "t,model,prompt_tokens,output_tokens,next\n0,a,1,1,b\n1,b,1,1,\n")
    assert [job.then for job in read_traces([trace]).jobs] == ["b", None]


def test_azures_services_meet_on_their_common_clock(tmp_path: Path) -> None:
    header = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    code = write(tmp_path, f"{header}2023-11-16 18:17:03.9799600,4808,10\n", "code.csv")
    conv = write(tmp_path, f"{header}2023-11-16 18:17:02.9799600,374,44\n", "conv.csv")
    workload = read_traces([code, conv])
    assert workload.name == "code+conv"
    assert [(job.model, round(job.arrival, 6)) for job in workload.jobs] == [
        ("conv", 0.0),
        ("code", 1.0),
    ]


def test_azures_later_traces_carry_a_time_zone(tmp_path: Path) -> None:
    trace = write(
        tmp_path,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,2162,5\n"
        "2024-05-10 00:00:01.009930+00:00,2399,6\n",
    )
    assert [round(job.arrival, 6) for job in read_traces([trace]).jobs] == [0.0, 1.0]


def test_burstgpt_names_its_models(tmp_path: Path) -> None:
    trace = write(
        tmp_path,
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n"
        "5,1,2.0,ChatGPT,472,18,490,Conversation log\n"
        "45,,1.0,GPT-4,1087,0,1087,API log\n",
    )
    assert [(job.arrival, job.model) for job in read_traces([trace]).jobs] == [
        (0.0, "ChatGPT"),
        (40.0, "GPT-4"),
    ]


AZURES = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def test_files_that_count_seconds_have_the_same_second_0(tmp_path: Path) -> None:
    one = write(tmp_path, f"{OURS}5,a,0,40,\n", "one.csv")
    other = write(tmp_path, "Timestamp,Model,Request tokens,Response tokens\n7,b,0,40\n", "two.csv")
    jobs = read_traces([one, other]).jobs
    assert [(job.model, job.arrival) for job in jobs] == [("a", 0.0), ("b", 2.0)]


def test_dates_and_seconds_have_no_clock_in_common(tmp_path: Path) -> None:
    dates = write(tmp_path, f"{AZURES}2023-11-16 18:17:03,0,40\n", "dates.csv")
    seconds = write(tmp_path, f"{OURS}5,a,0,40,\n6,a,0,40,\n", "seconds.csv")
    for paths in ([dates, seconds], [seconds, dates]):
        with pytest.raises(TraceError) as error:
            read_traces(paths)
        assert str(error.value).startswith(f"{dates} has dates and {seconds} counts seconds")
        assert "--align" in str(error.value)
        jobs = read_traces(paths, align=True).jobs
        assert sorted((job.arrival, job.model) for job in jobs) == [
            (0.0, "a"),
            (0.0, "dates"),
            (1.0, "a"),
        ]


def test_seconds_since_1970_are_dates(tmp_path: Path) -> None:
    dates = write(tmp_path, f"{AZURES}2023-11-16 18:17:03+00:00,0,40\n", "dates.csv")
    seconds = write(tmp_path, f"{OURS}1700158625,a,0,40,\n", "seconds.csv")
    jobs = read_traces([seconds, dates]).jobs
    assert [(job.model, job.arrival) for job in jobs] == [("dates", 0.0), ("a", 2.0)]


def test_traces_of_different_years_can_be_laid_over_each_other(tmp_path: Path) -> None:
    last = write(tmp_path, f"{AZURES}2023-11-16 18:17:03,0,40\n", "last.csv")
    this = write(tmp_path, f"{AZURES}2024-05-10 00:00:00,0,40\n", "this.csv")
    assert read_traces([last, this]).jobs[1].arrival > 86_400
    assert [job.arrival for job in read_traces([last, this], align=True).jobs] == [0.0, 0.0]


def test_rates_turn_tokens_into_seconds(tmp_path: Path) -> None:
    trace = write(tmp_path, f"{OURS}0,a,1000,100,\n")
    (job,) = read_traces([trace], Rates(prefill=500.0, decode=50.0)).jobs
    assert job.service == 4.0


def test_every_other_request_is_kept_when_a_trace_is_thinned(tmp_path: Path) -> None:
    trace = write(tmp_path, OURS + "".join(f"{t},a,0,40,\n" for t in range(10)))
    assert [job.arrival for job in read_traces([trace], every=3).jobs] == [0.0, 3.0, 6.0, 9.0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1,a,x,2,", "2:5: prompt_tokens: 'x' is not a whole number of tokens"),
        ("1,a,1.5,2,", "2:5: prompt_tokens: '1.5' is not a whole number of tokens"),
        ("-1,a,1,2,", "2:1: t: '-1' is not a number of at least 0"),
        ("nan,a,1,2,", "2:1: t: 'nan' is not a number of at least 0"),
        ("1,,1,2,", "2:3: model: no model is named"),
        ('1,"a,b",3', "2:10: output_tokens: the line ends before this column"),
        ('1,"a,b",3,-4', "2:11: output_tokens: '-4' is not a whole number of tokens"),
    ],
)
def test_a_wrong_line_is_named_by_file_line_and_column(
    tmp_path: Path, line: str, says: str
) -> None:
    trace = write(tmp_path, f"{OURS}{line}\n")
    with pytest.raises(TraceError) as error:
        read_traces([trace])
    assert str(error.value) == f"{trace}:{says}"


def test_a_number_that_is_too_large_for_a_number_is_named(tmp_path: Path) -> None:
    trace = write(tmp_path, f"{OURS}0,a,{'9' * 400},2,\n1,a,1e400,2,\n")
    with pytest.raises(TraceError) as error:
        read_traces([trace])
    assert [line.partition("csv")[2][:5] for line in str(error.value).splitlines()] == [
        ":2:5:",
        ":3:5:",
    ]


def test_a_header_without_end_is_cut(tmp_path: Path) -> None:
    trace = write(tmp_path, "x" * 100_000)
    with pytest.raises(TraceError, match=r":1:1: the header 'x{200}\.\.\.' is none that is known"):
        read_traces([trace])


def test_a_record_over_two_lines_does_not_shift_the_lines_after_it(tmp_path: Path) -> None:
    trace = write(tmp_path, f'{OURS}0,"two\nlines",1,2,\n1,"two\nlines",x,2,\n')
    with pytest.raises(TraceError, match=r":4:8: prompt_tokens: 'x'"):
        read_traces([trace])


def test_the_first_ten_mistakes_are_shown_together(tmp_path: Path) -> None:
    trace = write(tmp_path, OURS + "x,a,1,2,\n" * 30)
    with pytest.raises(TraceError) as error:
        read_traces([trace])
    assert len(str(error.value).splitlines()) == 10


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("trace.csv", b"a,b,c\n", "1:1: the header 'a,b,c' is none that is known"),
        ("trace.csv", b"", "the header '' is none that is known"),
        ("trace.csv", OURS.encode(), "there is no request in it"),
        ("trace.csv", b"t,model\xff\n", "not UTF-8 text"),
        ("trace.csv.gz", b"plain text", "Not a gzipped file"),
        ("trace.csv.gz", gzip.compress(OURS.encode() + b"0,a,1,2,\n" * 99)[:-9], "ended before"),
    ],
    ids=["another header", "empty", "no line", "not text", "not packed", "cut off"],
)
def test_a_file_that_is_no_trace_says_why(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TraceError) as error:
        read_traces([path])
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_traces([tmp_path / "none.csv"])
