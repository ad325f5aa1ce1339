"""Pure decisions on values: promises, alerts, rules, grouping, incidents, cadence."""
