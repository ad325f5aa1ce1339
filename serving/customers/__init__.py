"""What customers prefer and when they are home: personal data, in one table that can be erased."""
