"""Elasticsearch 9 put together from its libraries on Maven Central: there is no package of it for tests there. It is
the server and its HTTP, as much as the package of version 8 has."""

import subprocess
from pathlib import Path

_NODE = Path(__file__).with_name("ElasticsearchNode.java")

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>remora</groupId><artifactId>tests</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.elasticsearch</groupId><artifactId>elasticsearch</artifactId><version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.elasticsearch.plugin</groupId><artifactId>transport-netty4</artifactId><version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""

_DESCRIPTOR = """\
name=transport-netty4
description=HTTP
version={version}
elasticsearch.version={version}
java.version=21
classname=org.elasticsearch.transport.netty4.Netty4Plugin
"""
_HTTP = ("netty-", "transport-netty4-", "elasticsearch-ssl-config-")


def assemble(version: str, directory: Path) -> Path:
    """Fetch the parts into `directory`; returns the server's home in it. Raises SystemExit with what to do."""
    (directory / "pom.xml").write_text(_POM.format(version=version))
    home = directory / f"elasticsearch-{version}"
    http = home / "modules" / "transport-netty4"
    http.mkdir(parents=True)
    for name in ("config", "logs", "plugins", "native"):
        (home / name).mkdir()
    command = ["mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies", f"-DoutputDirectory={home / 'lib'}"]
    if subprocess.run(command, cwd=directory).returncode != 0:
        raise SystemExit(f"Maven cannot fetch Elasticsearch {version}")
    for jar in (home / "lib").iterdir():
        if jar.name.startswith(_HTTP):
            jar.rename(http / jar.name)
    (http / "plugin-descriptor.properties").write_text(_DESCRIPTOR.format(version=version))
    (home / "config" / "elasticsearch.yml").touch()
    try:
        compression = next(Path("/usr/lib").glob("*/libzstd.so.1"))
    except StopIteration:
        raise SystemExit("libzstd is not installed: apt-get install libzstd1") from None
    (home / "native" / "libzstd.so").symlink_to(compression)
    return home


def is_assembled(version: str, home: Path) -> bool:
    """Whether `assemble` made it."""
    return (home / "lib" / f"elasticsearch-{version}.jar").exists()


def command(java: Path, options: str, home: Path) -> list[str]:
    """Of one node, with the settings in `home`/config. `java`: home of a JDK, which compiles the node's few lines."""
    return [
        str(java / "bin" / "java"), *options.split(),
        "--add-modules=jdk.incubator.vector,jdk.net,jdk.management.agent,org.elasticsearch.server",
        "--enable-native-access=org.elasticsearch.foreign,org.elasticsearch.nativeaccess,org.apache.lucene.core",
        f"-Des.nativelibs.path={home / 'native'}",
        "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false",  # it is in no library of Maven Central
        "-Des.distribution.type=zip",
        "--module-path", str(home / "lib"), str(home / _NODE.name), str(home),
    ]  # fmt: skip


def put_node(home: Path) -> None:
    """What is run, where the node's user may read it."""
    (home / _NODE.name).write_bytes(_NODE.read_bytes())
