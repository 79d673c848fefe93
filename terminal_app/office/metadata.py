"""The one list of the office's tables. Modules that define tables import it; `store` opens them all."""

import sqlalchemy as sa

metadata = sa.MetaData()
Big = sa.BigInteger
