"""The Census-Income (KDD) files, which have no header, as one table.

official train and test files --census_tables--> columns by name, with the part each row is in

The test file is halved at random into validation and test, always the same way.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import polars as pl

from training.errors import DataError

_SEED = 0
_HEADER = (
    "age class_worker det_ind_code det_occ_code education wage_per_hour hs_college marital_stat "
    "major_ind_code major_occ_code race hisp_origin sex union_member unemp_reason "
    "full_or_part_emp capital_gains capital_losses stock_dividends tax_filer_stat "
    "region_prev_res state_prev_res det_hh_fam_stat det_hh_summ instance_weight mig_chg_msa "
    "mig_chg_reg mig_move_reg mig_same mig_prev_sunbelt num_emp fam_under_18 country_father "
    "country_mother country_self citizenship own_or_self vet_question vet_benefits weeks_worked "
    "year income_50k"
)
_NUMERIC = (
    "age wage_per_hour capital_gains capital_losses stock_dividends instance_weight num_emp "
    "own_or_self vet_benefits weeks_worked year"
)


def census_tables(files: tuple[bytes, ...]) -> dict[str, pl.DataFrame]:
    """Both files below each other, text stripped, numbers as numbers, column part added.

    Raises:
        DataError: a file without the 42 columns.
    """
    train, test = (_read(file) for file in files)
    halves = np.full(len(test), "test", dtype=object)
    order = np.random.default_rng(_SEED).permutation(len(test))
    halves[order[: len(test) // 2]] = "valid"
    parts = pl.concat(
        [
            train.with_columns(pl.lit("train").alias("part")),
            test.with_columns(pl.Series("part", halves.tolist(), dtype=pl.String)),
        ]
    )
    return {"people": parts}


def _read(file: bytes) -> pl.DataFrame:
    table = pl.read_csv(BytesIO(file), has_header=False, infer_schema=False, quote_char=None)
    names = _HEADER.split()
    if table.width != len(names):
        raise DataError(f"a Census file has {table.width} columns, expected {len(names)}")
    table = table.rename(dict(zip(table.columns, names, strict=True)))
    return table.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.col(_NUMERIC.split()).cast(pl.Float64)
    )
