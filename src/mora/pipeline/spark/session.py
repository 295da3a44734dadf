"""Spark is started with what equal results need, and stopped whatever happens."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mora.config.mobility import FlowsMobility, GravityMobility, VisitsMobility
from mora.errors import ConfigError, MissingExtraError, RunError
from mora.pipeline.display import Display

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLDEST_JAVA = 17  # of Spark 4
LONGEST_REASON = 400  # characters of Spark's own message
# Without these, rows would be read otherwise than by the embedded engine.
FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "true",  # numbers that overflow stop the run
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # refused otherwise
}
QUIET = {
    "spark.app.name": "mora",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.defaultJavaOptions": "-Dlog4j2.configurationFile="
    + str(Path(__file__).with_name("log4j2.properties")),
    # One shuffle by user serves both sides of a join by user and week.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
}
SUBMITTED = "PYSPARK_GATEWAY_PORT"  # set where spark-submit has started Java already


def check_engine(mobility: object) -> None:
    """Refuse ``engine: spark`` where Spark cannot run, before any work.

    Args:
        mobility: the section ``mobility`` of a configuration; kinds without an engine
            and the embedded engine need nothing.

    Raises:
        MissingExtraError: if pyspark is not installed.
        ConfigError: if Java is missing or too old, a setting is one that the engine
            needs as it is, or Spark would not be this process's own.
    """
    kinds = (VisitsMobility, FlowsMobility, GravityMobility)
    if not isinstance(mobility, kinds) or mobility.engine != "spark":
        return
    if importlib.util.find_spec("pyspark") is None:
        raise MissingExtraError("pyspark", "spark", "`mobility: engine: spark`")
    taken = sorted(FIXED.keys() & mobility.spark.keys())
    if taken:
        raise ConfigError(
            f"mobility.spark sets {', '.join(taken)}; the engine needs "
            f"{', '.join(FIXED[name] for name in taken)} there. Leave them out."
        )
    if "spark.remote" in mobility.spark or "SPARK_REMOTE" in os.environ:
        raise ConfigError(
            "engine spark works in a session of its own, not through Spark Connect; "
            "leave spark.remote and SPARK_REMOTE out and name a spark.master."
        )
    if SUBMITTED not in os.environ:
        _check_java()
    _check_no_session()


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    where = f"JAVA_HOME={home}" if home else "the PATH"
    hint = f"Install Java {OLDEST_JAVA} or newer, and set JAVA_HOME to its folder."
    if java is None:
        raise ConfigError(f"engine spark needs Java; found none under {where}. {hint}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        found = version[1] if version else "of unknown version"
        raise ConfigError(f"engine spark found Java {found} under {where}. {hint}")


def _check_no_session() -> None:
    """Refuse to share a session: ours has settings of its own and is stopped."""
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        raise ConfigError(
            "a Spark session runs in this process already; engine spark starts one of "
            "its own. Stop the other first, or run Mora in a process of its own."
        )


@contextmanager
def spark_session(
    settings: Mapping[str, str], display: Display
) -> Iterator["SparkSession"]:
    """Start Spark for the length of a ``with`` block.

    The master is the one of ``settings``, of spark-submit or of Spark's own
    configuration; else all cores of this machine.

    Args:
        settings: passed on to Spark, such as ``spark.master``.
        display: told where Spark runs.

    Raises:
        RunError: if Spark cannot be started, or a job fails in the block.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    with _workers_python(settings):
        try:
            builder = SparkSession.builder
            for name, value in {**QUIET, **settings, **FIXED}.items():
                builder = builder.config(name, value)
            spark = builder.getOrCreate()
            display.say(f"  Spark {spark.version} on {spark.sparkContext.master}")
            yield spark
        except (PySparkException, Py4JError) as error:
            raise RunError(
                f"engine spark stopped: {_reason(error)} What earlier stages wrote is "
                f"intact; change `mobility: spark:`, and start again."
            ) from error
        finally:
            _stop()


@contextmanager
def _workers_python(settings: Mapping[str, str]) -> Iterator[None]:
    """Let the workers run the Python of the settings, of the shell, or this one."""
    before = os.environ.get("PYSPARK_PYTHON")
    chosen = settings.get("spark.pyspark.python") or before or sys.executable
    os.environ["PYSPARK_PYTHON"] = chosen
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYSPARK_PYTHON"]
        else:
            os.environ["PYSPARK_PYTHON"] = before


def _stop() -> None:
    """Stop Spark, and its Java process, which would keep its memory through the run."""
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
    gateway = SparkContext._gateway
    if gateway is None or SUBMITTED in os.environ:
        return
    SparkContext._gateway = SparkContext._jvm = None
    gateway.shutdown()
    gateway.proc.stdin.close()  # tells Java to end
    gateway.proc.wait()


def _reason(error: Exception) -> str:
    """Say in a sentence why Spark stopped; its own text may run to pages."""
    text = str(getattr(error, "java_exception", None) or error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return first[:LONGEST_REASON].rstrip(".") + "."
