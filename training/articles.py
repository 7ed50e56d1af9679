"""Short help centre articles for the three companies of the data, written by hand for this project.

Training questions make poor help centres: real ones are prose that tells rather than asks.
"""

ARTICLES: dict[str, list[str]] = {
    "bank": [
        "Ordering a card. You can order a debit card in the app under Cards. It arrives by post within seven working"
        " days. We do not charge for the first card; a replacement costs five pounds. You can see when it was sent.",
        "Activating your card. Open the app, choose your new card and tap Activate. Your PIN is shown there once. You"
        " can change the PIN at any cash machine. After three wrong tries the PIN is blocked.",
        "Lost or stolen cards. Freeze your card at once in the app and call us, day or night. We cancel it and send a"
        " new one. You are not liable for payments made after you told us.",
        "Transfers. A transfer inside the country usually arrives within two hours, abroad it takes up to three"
        " working days. A pending transfer can be cancelled until we have sent it. Check the name and number first.",
        "Fees. Our current account is free. We charge one per cent for payments in other currencies and for cash from"
        " foreign machines. All charges are listed on your monthly statement.",
        "Topping up. Add money by bank transfer, by card or in cash at a partner shop. Top-ups by card are limited to"
        " a thousand pounds a day. A top-up that failed is returned to you within a week.",
        "Verifying who you are. The law asks us to check your identity. Photograph your passport or driving licence"
        " and take a selfie. If the check fails, please try again in better light or send another document.",
        "Payments you do not recognise. Look at the merchant's name and the date first. If you did not make the"
        " payment, report it in the app; we investigate it as fraud and refund it where the rules say so.",
        "Exchange rates. We use the interbank rate of the moment at which the payment settles, so it may differ a"
        " little from what you saw in the shop. Weekend rates have a small markup.",
        "Direct debits and standing orders. Set them up under Payments. You can stop a direct debit up to a day before"
        " it is taken. We tell you when there is not enough balance for it.",
        "Credit cards. Apply in the app; we check your income and credit score. Your limit, the interest rate and the"
        " due date of the minimum payment stand on each bill. You can ask for a higher limit after six months.",
        "Closing your account. Move the remaining money to another account, cancel your subscriptions and tell us in"
        " the app. We keep records for as long as the law asks and close the account within a week.",
    ],
    "travel": [
        "Booking a flight. Search by city and date and choose a fare. We send the ticket by e-mail. Prices include"
        " taxes. You can reserve seats and add meals until a day before departure.",
        "Luggage. Most fares include one carry-on bag of eight kilos. Checked suitcases cost extra, by weight. If your"
        " bag is lost, report it at the airport desk and send us the number of the report.",
        "Hotels. You can book a room with or without breakfast. Check-in is usually from three in the afternoon. Many"
        " hotels let you cancel free of charge until two days before your stay.",
        "Car rental. The driver needs a licence held for a year and a credit card. Choose the size of the car, the"
        " pick-up place and the insurance. Return it with a full tank to avoid a fee.",
        "Visas. Whether you need a visa depends on your passport and the country you travel to. We tell you the"
        " rules, where to apply and how long it takes. Your passport should be valid for six more months.",
        "Vaccinations. Some countries ask for proof of yellow fever vaccination. See a doctor six weeks before your"
        " trip about the shots that are recommended for your destination.",
        "Safety and travel alerts. We list current warnings for each country: weather, strikes, health and unrest."
        " If a region becomes unsafe, we help you to change or cancel your trip.",
        "Changing or cancelling a trip. Open your booking and choose Change. Airlines charge a fee and the difference"
        " in fare. Refunds go back to the card that you paid with.",
        "Flight status and delays. See in your booking whether a flight is on time, its gate and terminal. After a"
        " delay of three hours or a cancelled flight you may have a right to compensation.",
        "Money abroad. We show the exchange rate between the currencies of your home and destination, and where you"
        " can change cash. Tipping habits and plug sockets are in each country guide.",
        "Time zones and local language. Each guide shows the local time, the hours between there and home, a few"
        " useful phrases with their translation, and what the weather is like in each season.",
        "Ideas for your trip. Ask us for sights, tours, museums, beaches and things to do with children. We suggest"
        " an itinerary for the days you have and book the tickets.",
    ],
    "shop": [
        "Placing an order. Put what you want into the basket and go to the checkout. You get an e-mail that confirms"
        " the order. If an item is out of stock, we tell you when it will be available again.",
        "Changing or cancelling an order. Until it is packed you can remove items or cancel it in your account. After"
        " that, please refuse the parcel or send it back once it has arrived.",
        "Delivery. Standard delivery takes three to five days, express one day. Shipping is free above fifty euros."
        " You can follow the parcel with the tracking number and choose another delivery address.",
        "Returns. Send unused items back within thirty days with the label from your account. The box should be the"
        " original one. You do not have to give a reason.",
        "Refunds. We pay the money back within a week after the return has reached us, by the way you paid. You can"
        " see the state of your refund in your account. Shipping costs are refunded for faulty goods.",
        "Invoices. Every invoice can be downloaded from your orders as a file. If the name or tax number is wrong,"
        " write to us and we issue a corrected bill.",
        "Payment. We accept cards, bank transfer and gift cards. If a payment is declined, check the card's limit and"
        " address or try another method. You are charged when the goods leave us.",
        "Your account. Register with an e-mail address and a password. You can edit your details, reset a forgotten"
        " password, switch to a business account, or delete the account with all personal data.",
        "Newsletter. Subscribe for offers once a week; every mail has a link with which to unsubscribe. New readers"
        " get a discount code.",
        "Complaints and contact. Tell us what went wrong and we reply within a day. Our team can be reached by chat,"
        " telephone and e-mail from Monday to Saturday; ask for a person at any time.",
        "Damaged or missing items. Send a photograph of the broken product and its packaging. We send a new one or"
        " give the money back, as you prefer. Check first whether the rest comes in a second parcel.",
        "Reviews and warranty. Customers can review what they bought. All products have a two year guarantee; we"
        " repair or replace what breaks in normal use.",
    ],
}
