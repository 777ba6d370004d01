# The router's configuration. What comes in from a cloud is on a bus of its own, so that nothing is sent back to where it came
# from, and a cloud that falls silent is seen.

locals {
  buses = concat(["default"], [for cloud in local.clouds : "from-${cloud}"])

  parts = [for cloud in local.clouds : local.made[cloud].gocoffee]
  sources = merge([for cloud in local.clouds : {
    for name, source in local.made[cloud].gocoffee.sources : name => {
      # Event Grid has several ways in, each with a bus of its own; the two forms differ in type, which JSON does not mind.
      for kind, settings in source : kind => jsondecode(kind == "event_grid"
        ? jsonencode({ for way, at in settings : way => merge(at, { bus = "from-${cloud}" }) })
        : jsonencode(merge(settings, { bus = "from-${cloud}" }))
      )
    }
  }]...)
  targets = merge([for part in local.parts : part.targets]...)

  # What a cloud's bus gets: everything, or what its functions take.
  taken = { for cloud in local.clouds : cloud => distinct(flatten([
    for function in var.functions : function.event_types if function.cloud == cloud && cloud != "gcp"
  ])) }
  wanted = { for cloud in local.clouds : cloud => concat(
    [for beginning in var.event_types : { prefix = beginning } if var.mirror],
    [for type in local.taken[cloud] : type if !var.mirror],
  ) }
  to_buses = merge([for cloud in local.clouds : {
    # Pub/Sub alone keeps an order; elsewhere one would cost speed and be lost behind the bus.
    for bus in local.buses : "${replace(bus, "default", "web")}-to-${cloud}" => merge(
      {
        bus    = bus
        filter = { pattern = { type = local.wanted[cloud] } }
        to     = local.bus_of[cloud]
      },
      cloud == "gcp" ? { order = "partitionkey" } : {},
    ) if bus != "from-${cloud}" && length(local.wanted[cloud]) > 0
  }]...)

  # At Google the router chooses the function's topic, also for what came in there.
  to_functions = merge([for name, function in var.functions : {
    for bus in local.buses : "${replace(bus, "default", "web")}-to-gcp-${name}" => {
      bus    = bus
      filter = { pattern = { type = function.event_types } }
      to     = "gcp-${name}"
    } if function.cloud == "gcp"
  }]...)

  # An event of each function's first type, and where it must go: what `gocoffee check` judges.
  tests = { for name, function in var.functions : "${name} gets what it takes" => {
    event = { specversion = "1.0", id = "1", source = "/tests", type = function.event_types[0], data = {} }
    reaches = concat(
      [for cloud in local.clouds : "web-to-${cloud}" if var.mirror ?
        anytrue([for beginning in var.event_types : startswith(function.event_types[0], beginning)]) :
      contains(local.taken[cloud], function.event_types[0])],
      [for other, f in var.functions : "web-to-gcp-${other}" if f.cloud == "gcp" && contains(f.event_types, function.event_types[0])],
    )
  } }

  gocoffee = merge(
    {
      # In gocoffeehops: the routers of two environments are two.
      router = { id = "${var.project_name}-${var.environment}" }
      listen = "127.0.0.1:8080"
      store  = { disk = { path = "./data" } }
    },
    var.archive_in == null ? {} : { archive = local.made[var.archive_in].archive },
    var.router,
    {
      buses   = { for bus in local.buses : bus => {} }
      sources = merge({ web = { http = { path = "/events" } } }, local.sources)
      targets = local.targets
      routes  = merge(local.to_buses, local.to_functions)
      tests   = local.tests
    },
  )
}
