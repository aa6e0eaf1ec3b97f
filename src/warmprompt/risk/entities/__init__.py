"""Entities of a table, such as banks: class probabilities from features, few labels and few peers."""

from warmprompt.risk.entities.fitting import EntityReport, fit_entities
from warmprompt.risk.entities.profiler import EntityProfiler, EntityScores
from warmprompt.risk.entities.prompt import EntityPromptSettings
from warmprompt.risk.entities.saving import load_entities, save_entities
from warmprompt.risk.entities.table import (
    UNLABELLED,
    EntityTable,
    TableSchema,
    learn_schema,
    make_table,
    read_frame,
)

__all__ = [
    "UNLABELLED",
    "EntityProfiler",
    "EntityPromptSettings",
    "EntityReport",
    "EntityScores",
    "EntityTable",
    "TableSchema",
    "fit_entities",
    "learn_schema",
    "load_entities",
    "make_table",
    "read_frame",
    "save_entities",
]
