"""The panel of MedTL Classify, a file a part. What both modules share is in MedTLLib."""
