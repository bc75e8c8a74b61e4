"""Sources by the names that programs have them under, and the steps of an ingestion."""
