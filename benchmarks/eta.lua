-- Asks for forecasts of stops of the fleet in the benchmark: STOPS a call of VEHICLES, the first STOPS_FROM to STOPS_TO of each.
local stops, vehicles = tonumber(os.getenv("STOPS")), tonumber(os.getenv("VEHICLES"))
local from, to = tonumber(os.getenv("STOPS_FROM")), tonumber(os.getenv("STOPS_TO"))

init = function() math.randomseed(7) end

request = function()
  local ids = {}
  while #ids < stops do
    local vehicle = math.random(0, vehicles - 1)
    for stop = from, math.min(to, from + stops - #ids - 1) do
      if stops == 1 then stop = math.random(from, to) end
      ids[#ids + 1] = string.format('"S-1-%d-%d"', vehicle, stop)
    end
  end
  local body = '{"stop_ids":[' .. table.concat(ids, ",") .. ']}'
  return wrk.format("POST", "/v1/eta", { ["content-type"] = "application/json" }, body)
end

done = function(summary, latency)
  local failed = summary.errors.status + summary.errors.read + summary.errors.connect + summary.errors.timeout
  io.write(string.format("FIGURES %f %f %f %d %f %d\n", latency:percentile(50) / 1e6, latency:percentile(95) / 1e6,
    latency:percentile(99) / 1e6, summary.requests, summary.duration / 1e6, failed))
end
