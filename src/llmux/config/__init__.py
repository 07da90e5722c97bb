"""The config: a file in, frozen data out, and every mistake with its line and what would do."""

from llmux.config.doors import AuthConfig, KeyConfig, TlsConfig
from llmux.config.findings import Finding, InvalidConfigError, Kind
from llmux.config.load import Loaded, load_config, parse_config, script_findings
from llmux.config.model import (
    Alive,
    BoundsConfig,
    Config,
    HealthConfig,
    HooksConfig,
    HttpProbe,
    LogConfig,
    ModelConfig,
    PolicyConfig,
    ResolvedModel,
    TcpProbe,
)
from llmux.config.rules import Inherit
from llmux.config.secrets import key_digest, key_path, server_context
from llmux.errors import ConfigError

__all__ = [
    "Alive",
    "AuthConfig",
    "BoundsConfig",
    "Config",
    "ConfigError",
    "Finding",
    "HealthConfig",
    "HooksConfig",
    "HttpProbe",
    "Inherit",
    "InvalidConfigError",
    "KeyConfig",
    "Kind",
    "Loaded",
    "LogConfig",
    "ModelConfig",
    "PolicyConfig",
    "ResolvedModel",
    "TcpProbe",
    "TlsConfig",
    "key_digest",
    "key_path",
    "load_config",
    "parse_config",
    "script_findings",
    "server_context",
]
