"""What a fleet's data can carry: figures of each table, label leaks, and a verdict for each capability."""
